/** A table of vectors, one for each id, over an exchangeable weight source. */
import { embedding, scope, type Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'
import type { WeightSource } from './weight_source.ts'

export class Embedding implements ResourceHolder {
  /** Name of the table as in the model's file, e.g. `model.embed_tokens.weight`. */
  readonly name: string
  /** [entries, width] */
  source: WeightSource

  constructor(name: string, source: WeightSource) {
    this.name = name
    this.source = source
  }

  /**
   * Ids, u32 [..] -> [.., width]. Gradients of rows that stand there more than once are added.
   *
   * @throws ShapeError for an id without a row.
   * @example new Embedding('table', denseSource(table)).forward(tensor([3, 0, 3], [3], 'u32')) // [3, width]
   */
  forward(ids: Tensor): Tensor {
    return scope(() => embedding(this.source.dense(), ids))
  }

  resources(): Iterable<unknown> {
    return [this.source]
  }
}
