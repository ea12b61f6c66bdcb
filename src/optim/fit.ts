/**
 * The plain training loop: for tuning a block, an adapter, a small model. One step draws batches, goes back from their
 * loss, clips, and moves the parameters.
 */
import type { Parameters } from '../nn/parameters.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { Gradients, scope, type Tensor, valueAndGrad } from '../tensor/index.ts'
import type { Average } from './averages.ts'
import type { Batches } from './batches.ts'
import { clipFactor, gradientNorm, notFiniteError } from './gradients.ts'
import type { Optimiser } from './optimiser.ts'

export interface FitOptions<B> {
  parameters: Parameters
  optimiser: Optimiser
  batches: Batches<B>
  /** Loss of a batch, one element: the mean over its examples. */
  loss: (batch: B) => Tensor
  /** Steps, with those of a run that this one goes on with. */
  steps: number
  /** Steps that were done before. @default 0 */
  start?: number
  /** Batches of one step; the step follows the mean of their gradients. @default 1 */
  accumulate?: number
  /** Limit of the norm of all gradients together. @default none */
  clipNorm?: number
  /** What a loss or gradient that is not finite does: it ends the run, or its step is left out. @default 'stop' */
  onNotFinite?: 'stop' | 'skip'
  /** Follows the parameters after every step. */
  average?: Average
  /** Runs after the parameters moved, before anything reads them: masks, bounds. */
  afterUpdate?: (step: number) => void
  onStep?: (report: StepReport) => void
  /** Looked at before every step. */
  signal?: AbortSignal
}

export interface StepReport {
  /** From 0 on. */
  readonly step: number
  /** Mean of the losses of its batches. */
  readonly loss: number
  /** Of the gradients before clipping. */
  readonly norm: number
  /** The step was left out, for a loss or gradients that are not finite. */
  readonly isSkipped: boolean
}

export interface FitResult {
  /** Of every step from `start` on. */
  readonly losses: Float64Array
  /** Steps that were left out. */
  readonly skipped: readonly number[]
}

/**
 * Trains all parameters that are not frozen, in the calling thread, until all steps are done. To go on after a stop, load the states of parameters, optimiser and batches
 * and say with `start` how many steps are done: the result has the same bits.
 *
 * @throws OptionError for counts that are not whole; AbortError where the signal stops it, between two steps;
 * NumericalError, with the step and the parameters, for a loss or gradients that are not finite
 * @example
 * const { losses } = fit({
 *   parameters,
 *   optimiser: adamW({ rate: cosine({ from: 1e-3, steps: 200 }) })(parameters),
 *   batches: shuffledBatches({ count: 512, batchSize: 16, seed: 1, batch: pairsOf }),
 *   loss: ({ x, y }) => block(x).sub(y).square().mean(),
 *   steps: 200,
 *   clipNorm: 1,
 * })
 */
export function fit<B>(options: FitOptions<B>): FitResult {
  const { parameters, optimiser, steps, start = 0, accumulate = 1, clipNorm, onNotFinite = 'stop' } = options
  const { average, afterUpdate, onStep, signal } = options
  checkCounts(steps, start, accumulate)
  const losses = new Float64Array(steps - start)
  const skipped: number[] = []
  for (let step = start; step < steps; step++) {
    if (signal?.aborted) throw new AbortError()
    const report = scope((): StepReport => {
      const { loss, gradients } = gradientsOf(options, accumulate)
      const { norm, notFinite } = gradientNorm(gradients, 1 / accumulate)
      const isSkipped = notFinite.length > 0 || !Number.isFinite(loss)
      if (isSkipped) {
        if (onNotFinite === 'stop') throw notFiniteError(step, notFinite, loss)
        return { step, loss, norm, isSkipped }
      }
      const clip = clipNorm === undefined ? 1 : clipFactor(norm, clipNorm)
      optimiser.step(gradients, { scale: clip / accumulate })
      return { step, loss, norm, isSkipped }
    })
    losses[step - start] = report.loss
    if (report.isSkipped) skipped.push(step)
    else {
      afterUpdate?.(step)
      average?.update()
    }
    onStep?.(report)
  }
  return { losses, skipped }

  /** The mean loss of the batches of a step, and the sum of their gradients. */
  function gradientsOf({ batches, loss }: FitOptions<B>, parts: number) {
    const one = () => {
      const batch = batches.next()
      const { value, gradients } = valueAndGrad(() => loss(batch), parameters.tensors())
      return { loss: value.item(), gradients: gradients as ReadonlyMap<string, Tensor> }
    }
    if (parts === 1) return one()
    const sums = new Gradients()
    let total = 0
    try {
      for (let part = 0; part < parts; part++)
        scope(() => {
          const { loss, gradients } = one()
          total += loss
          sums.add(inWideTypes(gradients))
        })
      return { loss: total / parts, gradients: aliases(sums.get()) }
    } finally {
      sums.clear()
    }
  }
}

/** Sums of bf16 would lose what a small gradient adds. */
const inWideTypes = (gradients: ReadonlyMap<string, Tensor>): Map<string, Tensor> =>
  new Map([...gradients].map(([path, x]) => [path, x.dtype === 'bf16' ? x.cast('f32') : x]))

/** The same numbers, for the scope of the step. */
const aliases = (tensors: ReadonlyMap<string, Tensor>): Map<string, Tensor> =>
  new Map([...tensors].map(([path, x]) => [path, x.alias()]))

function checkCounts(steps: number, start: number, accumulate: number): void {
  for (const [name, value, least] of [
    ['start', start, 0],
    ['steps', steps, start],
    ['accumulate', accumulate, 1],
  ] as const)
    if (!(Number.isSafeInteger(value) && value >= least))
      throw new OptionError(`fit: ${name} must be a whole number from ${least} on, got ${value}`)
}
