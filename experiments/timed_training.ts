/** A training from the first step to the last, with what it took. */
import { setImmediate } from 'node:timers/promises'
import type { TrainingBatch } from '#src/optim/training_task.ts'
import type { Trainer } from '#src/train/trainer.ts'

export interface TrainingTime {
  seconds: number
  /** Of all threads; other programs on the machine leave it alone, more or less. */
  processorSeconds: number
}

/** Takes some steps, and finishes. Gives the loss of each. */
export async function trainTimed<B extends TrainingBatch>(
  trainer: Trainer<B>,
  steps: number,
): Promise<TrainingTime & { losses: number[] }> {
  const started = performance.now()
  const processor = process.cpuUsage()
  const losses: number[] = []
  for (let step = 0; step < steps; step++) {
    losses.push(trainer.next()!.loss)
    // Ctrl-C is heard between steps.
    await setImmediate()
  }
  trainer.finish()
  const { user, system } = process.cpuUsage(processor)
  return {
    losses,
    seconds: (performance.now() - started) / 1000,
    processorSeconds: (user + system) / 1e6,
  }
}
