/**
 * The shape of training methods. One step has these phases, in this order; a method fills those that it changes.
 *
 *   draw       ids and data of a batch                             batch
 *   forward    with the weights that layers give out               prepare: weight sources of layers
 *   loss       of each sample, then weighted                       weigh
 *   backward   gradients by path
 *   gradients  each changed on its own                             gradients
 *   reduce     over the workers                                    reduce
 *   clip       by the norm over all                                clipped sees what comes out
 *   update     by the optimiser                                    update
 *   after      masks, clamps, averages, before anyone reads        afterUpdate
 *   events     every k steps, at the end of an epoch, at the end   events, endOfEpoch, finish
 */

import type { Parameters } from '../nn/parameters.ts'
import { OptionError } from '../tensor/errors.ts'
import type { Tensor } from '../tensor/index.ts'
import type { Optimiser } from './optimiser.ts'
import type { ForwardContext, SourceLayer, TrainingBatch } from './training_task.ts'

export interface StepContext extends ForwardContext {
  readonly parameters: Parameters
  readonly optimiser: Optimiser
  /** Of the task; none where it names none. */
  readonly layers: readonly SourceLayer[]
  /** Of the batch at hand. */
  readonly epoch: number
}

type Gradients = ReadonlyMap<string, Tensor>

/** Something that happens every `every` steps. */
export interface TrainingEvent {
  /** After steps `begin`, `begin + every`, ..; a whole number from 1 on. */
  readonly every: number
  /** Steps that are done at the first time. @default every */
  readonly begin?: number
  /** Steps that are done at the last time, which happens also off the grid. @default never ends */
  readonly end?: number
  run(context: StepContext): void
}

export interface TrainingMethod<B extends TrainingBatch = TrainingBatch> {
  /** Names its state in checkpoints. */
  readonly name: string
  /** Before the first step, and before the first one after a resume: puts weight sources in place, makes state. */
  prepare?(context: StepContext): void
  /** Another batch in place of the one that was drawn. */
  batch?(batch: B, context: StepContext): B
  /**
   * How much each sample counts, [samples], from their losses, [samples]; neither is on the tape. Where all weights are 0
   * the loss is 0, and so are the gradients.
   */
  weigh?(losses: Tensor, batch: B, context: StepContext): Tensor
  /** Gradients of this worker, before they meet those of others. */
  gradients?(gradients: Gradients, context: StepContext): Gradients
  /** In place of the mean over the workers. One method of a run at most. */
  reduce?(gradients: Gradients, context: StepContext): Gradients
  /** What the optimiser will get: the last look at it. */
  clipped?(gradients: Gradients, context: StepContext): Gradients
  /** In place of the step of the optimiser, which `take` takes. One method of a run at most. */
  update?(gradients: Gradients, take: (gradients: Gradients) => void, context: StepContext): void
  /** On the trained numbers, before anything reads them. `context.step` counts the step. */
  afterUpdate?(context: StepContext): void
  readonly events?: readonly TrainingEvent[]
  /** `context.epoch` is the number of epochs that are done. */
  endOfEpoch?(context: StepContext): void
  /** After the last step: writes what is to stay. */
  finish?(context: StepContext): void
  /** Copies of its tensors by name; the caller's. */
  state?(): Readonly<Record<string, Tensor>>
  /** Takes over what `state` gave. @throws StateError where it does not fit */
  load?(saved: Readonly<Record<string, Tensor>>): void
  /** Frees what it holds. */
  dispose?(): void
}

/** Whether an event happens when `done` steps are done. */
export function isDue(
  { every, begin = every, end = Number.POSITIVE_INFINITY }: TrainingEvent,
  done: number,
): boolean {
  if (done < begin || done > end) return false
  return done === end || (done - begin) % every === 0
}

/** @throws OptionError where a name stands twice, or two methods want the same phase for themselves */
export function checkMethods<B extends TrainingBatch>(methods: readonly TrainingMethod<B>[]): void {
  const names = new Set<string>()
  for (const { name } of methods) {
    if (names.has(name)) throw new OptionError(`methods: ${name} stands there twice; give it once`)
    names.add(name)
  }
  for (const phase of ['reduce', 'update'] as const) {
    const own = methods.filter((method) => method[phase])
    if (own.length > 1)
      throw new OptionError(
        `methods: ${own.map(({ name }) => name).join(' and ')} each replace the phase ${phase}; one of them may`,
      )
  }
}
