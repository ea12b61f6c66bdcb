/** What the networks that classify share: how they run. */
import type { BatchNorm } from '../../nn/batch_norm.ts'
import type { Convolution } from '../../nn/convolution.ts'
import type { Linear } from '../../nn/linear.ts'
import type { Sites } from '../../nn/sites.ts'
import type { Tensor } from '../../tensor/index.ts'

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
  /** In the order of a forward: their statistics are those of the layers before, and may be estimated anew. */
  readonly norms: readonly BatchNorm[]
  /** Every site, in the order that a forward visits them. */
  sites(): readonly string[]
}
