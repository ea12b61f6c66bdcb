/** Softmax attention as its definition reads: scores, mask, softmax, weighted sum, one query at a time, in f64. */
import { softmax } from './normalize.ts'

export interface AttentionSizes {
  batch: number
  heads: number
  kvHeads: number
  queries: number
  keys: number
  dim: number
  valueDim: number
}

/** q [batch, heads, queries, dim], k and v [batch, kvHeads, keys, ..]; result [batch, queries, heads, valueDim]. */
export function attention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  bias: Float64Array | undefined,
  { batch, heads, kvHeads, queries, keys, dim, valueDim }: AttentionSizes,
  { scale, causal }: { scale: number; causal: boolean },
): Float64Array {
  const out = new Float64Array(batch * queries * heads * valueDim)
  for (let b = 0; b < batch; b++) {
    for (let head = 0; head < heads; head++) {
      const kvHead = b * kvHeads + Math.floor(head / (heads / kvHeads))
      for (let i = 0; i < queries; i++) {
        const query = (b * heads + head) * queries + i
        const seen = causal ? Math.max(0, Math.min(keys, i + 1 + keys - queries)) : keys
        const scores = Float64Array.from({ length: seen }, (_, j) => {
          let dot = 0
          for (let d = 0; d < dim; d++) dot += q[query * dim + d]! * k[(kvHead * keys + j) * dim + d]!
          return dot * scale + (bias?.[query * keys + j] ?? 0)
        })
        const row = ((b * queries + i) * heads + head) * valueDim
        softmax(scores).forEach((probability, j) => {
          for (let d = 0; d < valueDim; d++)
            out[row + d]! += probability * v[(kvHead * keys + j) * valueDim + d]!
        })
      }
    }
  }
  return out
}
