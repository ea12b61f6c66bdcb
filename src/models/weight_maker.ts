/** How networks that Pare trains get their weights: fresh ones, or those of a file. */
import type { Shape, State, Tensor } from '../tensor/index.ts'

/** How a weight begins: He et al. 2015 (arXiv:1502.01852) for what ReLU follows, or a constant. */
export type Initial =
  | { kind: 'he'; fanIn: number }
  | { kind: 'lecun'; fanIn: number }
  | { kind: 'constant'; value: number }
  /** The bias of an LSTM: 0, but for the forget gates, the second quarter. */
  | { kind: 'gates'; forget: number }

/**
 * Hands out the weights of a network as it is built: fresh ones, or those of a file.
 *
 * @example const weights = freshWeights(parameters, { seed: 0 })
 */
export interface WeightMaker {
  /** A weight that training changes. */
  weight(path: string, shape: Shape, initial: Initial): Tensor
  /** A buffer that the forward changes, such as running statistics. */
  buffer(path: string, shape: Shape, value: number): State
}
