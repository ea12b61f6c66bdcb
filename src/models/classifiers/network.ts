/** What the networks that classify share: how their weights come about, and how they run. */
import type { Convolution } from '../../nn/convolution.ts'
import type { Linear } from '../../nn/linear.ts'
import type { Sites } from '../../nn/sites.ts'
import type { Shape, State, Tensor } from '../../tensor/index.ts'

export interface ForwardOptions {
  /** Batch norm takes statistics of the batch, and its running ones follow. @default false */
  training?: boolean
  at?: Sites | undefined
}

/** A network from a batch to logits. */
export interface Classifier {
  /** x [batch, ..] -> logits [batch, classes] */
  forward(x: Tensor, options?: ForwardOptions): Tensor
  /** The layers whose weights a method may prune, quantise or replace, by the path of their weight. */
  readonly layers: ReadonlyMap<string, Linear | Convolution>
  /** Every site, in the order that a forward visits them. */
  sites(): readonly string[]
}

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
