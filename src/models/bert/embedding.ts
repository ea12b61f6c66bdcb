/** What enters the first layer: word, position and type of every token, summed and normalised. */
import { type Sites, visit } from '../../nn/sites.ts'
import { add, embedding, layerNorm, scope, type Tensor, tensor } from '../../tensor/index.ts'
import type { ResourceHolder } from '../../tensor/scope.ts'
import type { PaddedBatch } from '../padded_batches.ts'

export interface BertEmbeddingWeights {
  /** [vocabulary, hidden] */
  word: Tensor
  /** [context, hidden] */
  position: Tensor
  /** [typeVocabulary, hidden] */
  type: Tensor
  normWeight: Tensor
  normBias: Tensor
}

export class BertEmbedding implements ResourceHolder {
  readonly weights: BertEmbeddingWeights
  readonly epsilon: number

  constructor(weights: BertEmbeddingWeights, epsilon: number) {
    this.weights = weights
    this.epsilon = epsilon
  }

  static readonly sites: readonly string[] = ['embedding/sum', 'embedding']

  /** Ids [count * tokens] -> [count, tokens, hidden]. @throws ShapeError for ids or lengths without a row. */
  forward({ ids, types, count, tokens }: PaddedBatch, at?: Sites): Tensor {
    const { word, position, type, normWeight, normBias } = this.weights
    return scope(() => {
      const shape = [count, tokens]
      const words = embedding(word, tensor(ids, shape, 'u32'))
      const kinds = embedding(type, tensor(types ?? new Uint32Array(ids.length), shape, 'u32'))
      // The order of the reference: words and types first.
      const sum = visit(at, 'embedding/sum', add(add(words, kinds), position.slice(0, 0, tokens)))
      return visit(at, 'embedding', layerNorm(sum, normWeight, normBias, this.epsilon))
    })
  }

  resources(): Iterable<unknown> {
    return Object.values(this.weights)
  }
}
