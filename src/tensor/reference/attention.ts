/** Softmax attention as its definition reads: scores, mask, softmax, weighted sum, one query at a time, in f64; and its gradients. */
import { logSumExp } from './cross_entropy.ts'
import { softmax, softmaxGradient } from './normalize.ts'

export interface AttentionSizes {
  batch: number
  heads: number
  kvHeads: number
  queries: number
  keys: number
  dim: number
  valueDim: number
}

interface Inputs {
  q: Float64Array
  k: Float64Array
  v: Float64Array
  bias: Float64Array | undefined
}

interface Options {
  scale: number
  causal: boolean
}

/** Calls `visit` for every query with its scores of the keys that it sees, and where its numbers begin. */
function eachQuery(
  { q, k, bias }: Inputs,
  sizes: AttentionSizes,
  { scale, causal }: Options,
  visit: (scores: Float64Array, at: { query: number; keyHead: number; row: number }) => void,
): void {
  const { batch, heads, kvHeads, queries, keys, dim } = sizes
  for (let b = 0; b < batch; b++) {
    for (let head = 0; head < heads; head++) {
      const keyHead = b * kvHeads + Math.floor(head / (heads / kvHeads))
      for (let i = 0; i < queries; i++) {
        const query = (b * heads + head) * queries + i
        const seen = causal ? Math.max(0, Math.min(keys, i + 1 + keys - queries)) : keys
        const scores = Float64Array.from({ length: seen }, (_, j) => {
          let dot = 0
          for (let d = 0; d < dim; d++) dot += q[query * dim + d]! * k[(keyHead * keys + j) * dim + d]!
          return dot * scale + (bias?.[query * keys + j] ?? 0)
        })
        visit(scores, { query, keyHead, row: (b * queries + i) * heads + head })
      }
    }
  }
}

/**
 * q [batch, heads, queries, dim], k and v [batch, kvHeads, keys, ..]; the result [batch, queries, heads, valueDim], and
 * log(sum(exp(score))) [batch, heads, queries].
 */
export function attention(inputs: Inputs, sizes: AttentionSizes, options: Options) {
  const { batch, heads, queries, keys, valueDim } = sizes
  const out = new Float64Array(batch * queries * heads * valueDim)
  const logSums = new Float64Array(batch * heads * queries)
  eachQuery(inputs, sizes, options, (scores, { query, keyHead, row }) => {
    logSums[query] = logSumExp(scores)
    softmax(scores).forEach((probability, j) => {
      for (let d = 0; d < valueDim; d++)
        out[row * valueDim + d]! += probability * inputs.v[(keyHead * keys + j) * valueDim + d]!
    })
  })
  return { out, logSums }
}

/**
 * Given dout [batch, queries, heads, valueDim]: dq [batch, queries, heads, dim], dk and dv [batch, keys, kvHeads, ..],
 * dbias [batch, heads, queries, keys].
 */
export function attentionGradient(
  inputs: Inputs,
  dout: Float64Array,
  sizes: AttentionSizes,
  options: Options,
) {
  const { batch, heads, kvHeads, queries, keys, dim, valueDim } = sizes
  const { q, k, v } = inputs
  const dq = new Float64Array(batch * queries * heads * dim)
  const dk = new Float64Array(batch * keys * kvHeads * dim)
  const dv = new Float64Array(batch * keys * kvHeads * valueDim)
  const dbias = new Float64Array(batch * heads * queries * keys)
  eachQuery(inputs, sizes, options, (scores, { query, keyHead, row }) => {
    const probabilities = softmax(scores)
    const toProbabilities = probabilities.map((_, j) => {
      let dot = 0
      for (let d = 0; d < valueDim; d++)
        dot += dout[row * valueDim + d]! * v[(keyHead * keys + j) * valueDim + d]!
      return dot
    })
    const toScores = softmaxGradient(probabilities, toProbabilities)
    const [b, head] = [Math.floor(keyHead / kvHeads), keyHead % kvHeads]
    toScores.forEach((slope, j) => {
      const key = (b * keys + j) * kvHeads + head
      dbias[query * keys + j] = slope
      for (let d = 0; d < valueDim; d++)
        dv[key * valueDim + d]! += probabilities[j]! * dout[row * valueDim + d]!
      for (let d = 0; d < dim; d++) {
        dq[row * dim + d]! += options.scale * slope * k[(keyHead * keys + j) * dim + d]!
        dk[key * dim + d]! += options.scale * slope * q[query * dim + d]!
      }
    })
  })
  return { dq, dk, dv, dbias }
}
