/**
 * The plain training loop: for tuning a block, an adapter, a small model. One step draws batches, goes back from their
 * loss, clips, and moves the parameters. `Trainer` of `train/trainer.ts` takes the same steps with phases for methods.
 */
import type { Parameters } from '../nn/parameters.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'
import type { Average } from './averages.ts'
import { clipFactor, gradientNorm } from './gradients.ts'
import type { Optimiser } from './optimiser.ts'
import { drawn, Faults, keptBuffers, meanGradients, type StepOutcome } from './step.ts'
import type { Loader } from './training_task.ts'

export interface FitOptions<B> {
  parameters: Parameters
  optimiser: Optimiser
  /** Where batches come from; the run ends early where it ends. */
  loader: Pick<Loader<B>, 'next'>
  /** Loss of a batch, one element: the mean over its examples. */
  loss: (batch: B) => Tensor
  /** Steps, with those of a run that this one goes on with. */
  steps: number
  /** Steps that were done before. @default 0 */
  start?: number
  /** Batches of one step; the step follows the mean of their gradients. @default 1 */
  accumulate?: number
  /** Limit of the norm of all gradients together. @default none */
  clip?: number
  /** Steps one after another that are left out where a loss or gradient is not finite; one more ends the run. @default 0 */
  skipAtMost?: number
  /** Follows the parameters after every step. */
  average?: Average
  /** Runs after the parameters moved, before anything reads them: masks, bounds. `step` counts the one at hand. */
  afterUpdate?: (step: number) => void
  onStep?: (outcome: StepOutcome) => void
  /** Looked at before every step. */
  signal?: AbortSignal
}

export interface FitResult {
  /** Of every step from `start` on. */
  readonly losses: Float64Array
  /** Steps that were left out, counted from 1. */
  readonly skipped: readonly number[]
}

/**
 * Trains all parameters that are not frozen, in the calling thread, until all steps are done or the data has ended. To
 * go on after a stop, load the states of parameters, optimiser and loader and say with `start` how many steps are done:
 * the result has the same bits.
 *
 * @throws OptionError for counts that are not whole; AbortError where the signal stops it, between two steps;
 * NumericalError, with the step and the parameters, for a loss or gradients that are not finite
 * @example
 * const { losses } = fit({
 *   parameters,
 *   optimiser: adamW({ rate: cosine({ from: 1e-3, steps: 200 }) })(parameters),
 *   loader: createLoader(pairs, { batch: 16, dropLast: true, seed: 1 }),
 *   loss: ({ x, y }) => block(x).sub(y).square().mean(),
 *   steps: 200,
 *   clip: 1,
 * })
 */
export function fit<B>(options: FitOptions<B>): FitResult {
  const { parameters, optimiser, steps, start = 0, accumulate = 1, clip, skipAtMost = 0 } = options
  const { loader, loss: lossOf, average, afterUpdate, onStep, signal } = options
  checkCounts({
    start: [start, 0],
    steps: [steps, start],
    accumulate: [accumulate, 1],
    skipAtMost: [skipAtMost, 0],
  })
  const faults = new Faults(skipAtMost)
  const losses: number[] = []
  const skipped: number[] = []
  for (let step = start + 1; step <= steps; step++) {
    if (signal?.aborted) throw new AbortError()
    const outcome = scope((): StepOutcome | undefined => {
      const batches = drawn(loader, accumulate)
      if (batches.length === 0) return undefined
      const restore = keptBuffers(parameters)
      const { loss, gradients } = meanGradients(parameters, batches, lossOf)
      const norm = gradientNorm(gradients)
      const fault = faults.found(step, loss, norm, restore)
      if (!fault) optimiser.step(gradients, { scale: clip === undefined ? 1 : clipFactor(norm.norm, clip) })
      return { step, loss, gradientNorm: norm.norm, ...(fault && { skipped: fault.message }) }
    })
    if (!outcome) break
    losses.push(outcome.loss)
    if (outcome.skipped === undefined) {
      afterUpdate?.(step)
      average?.update()
    } else skipped.push(step)
    onStep?.(outcome)
  }
  return { losses: Float64Array.from(losses), skipped }
}

/** Each with the least that it may be. */
function checkCounts(counts: Readonly<Record<string, readonly [value: number, least: number]>>): void {
  for (const [name, [value, least]] of Object.entries(counts))
    if (!(Number.isSafeInteger(value) && value >= least))
      throw new OptionError(`fit: ${name} must be a whole number from ${least} on, got ${value}`)
}
