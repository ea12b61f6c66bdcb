/** What every step of a training does, whatever stands around it: gradients of a mean loss, and a look for what is not finite. */
import type { Parameters } from '../nn/parameters.ts'
import type { NumericalError } from '../tensor/errors.ts'
import { Gradients, scope, type Tensor, valueAndGrad } from '../tensor/index.ts'
import { type GradientNorm, notFiniteError } from './gradients.ts'
import type { Loader } from './training_task.ts'

/** What a step did. */
export interface StepOutcome {
  /** Steps done, this one counted. */
  readonly step: number
  /** Mean over its batches. */
  readonly loss: number
  /** Euclidean norm over all gradients, before they are clipped. */
  readonly gradientNorm: number
  /** Why nothing was learned from it. */
  readonly skipped?: string
}

/** The next batches of a step; fewer where the data ends. They belong to the caller's scope. */
export function drawn<B>(loader: Pick<Loader<B>, 'next'>, count: number): B[] {
  const batches: B[] = []
  for (let batch = loader.next(); batch !== undefined; batch = loader.next()) {
    batches.push(batch)
    if (batches.length === count) break
  }
  return batches
}

/**
 * The mean loss of the batches of a step, and its gradients by path. They belong to the caller's scope.
 *
 * @param lossOf loss of a batch, one element
 */
export function meanGradients<B>(
  parameters: Parameters,
  batches: readonly B[],
  lossOf: (batch: B) => Tensor,
): { loss: number; gradients: ReadonlyMap<string, Tensor> } {
  const tensors = parameters.tensors()
  const [first] = batches
  if (batches.length === 1) {
    const { value, gradients } = valueAndGrad(() => lossOf(first!), tensors)
    return { loss: value.item(), gradients }
  }
  const sums = new Gradients()
  let loss = 0
  try {
    for (const batch of batches)
      scope(() => {
        const { value, gradients } = valueAndGrad(() => lossOf(batch), tensors)
        loss += value.item()
        sums.add(new Map([...gradients].map(([path, gradient]) => [path, widened(gradient)])))
      })
    const share = 1 / batches.length
    const gradients = new Map([...sums.get()].map(([path, sum]) => [path, sum.mul(share)]))
    return { loss: loss * share, gradients }
  } finally {
    sums.clear()
  }
}

/**
 * Keeps what the forward itself changes, running statistics and carried states, for a step that may have to be left out:
 * a forward that is not finite has already written into them.
 *
 * @returns puts them back; to be called in the scope that this was called in
 */
export function keptBuffers(parameters: Parameters): () => void {
  const kept = [...parameters.states()].flatMap(([path, state]) =>
    parameters.get(path).isBuffer ? [[path, state.value()] as const] : [],
  )
  return () => {
    for (const [path, before] of kept) parameters.assign(path, before)
  }
}

/** Sums of bf16 would lose what small batches add. */
const widened = (x: Tensor): Tensor => (x.dtype === 'bf16' ? x.cast('f32') : x)

/**
 * Counts the steps, one after another, that cannot be learned from. With more than `most` of them the run ends.
 *
 * @example const skipped = faults.found(step, loss, gradientNorm(gradients), keptBuffers(parameters))
 */
export class Faults {
  readonly most: number
  /** How many stand in a row now. */
  inRow = 0

  constructor(most: number) {
    this.most = most
  }

  /**
   * Why a step has to be left out, where loss or gradients are not finite.
   *
   * @param step steps done, this one counted
   * @param restore puts back what the forward changed; called where the step is left out
   * @throws NumericalError where no more may be left out
   */
  found(
    step: number,
    loss: number,
    { notFinite }: GradientNorm,
    restore: () => void,
  ): NumericalError | undefined {
    if (Number.isFinite(loss) && notFinite.length === 0) {
      this.inRow = 0
      return undefined
    }
    restore()
    const fault = notFiniteError(step, notFinite, loss)
    if (this.inRow < this.most) {
      this.inRow++
      return fault
    }
    this.inRow = 0
    throw fault
  }
}
