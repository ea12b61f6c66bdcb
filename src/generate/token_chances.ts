/** How likely the model held a token, and which it held likelier. */
import type { TokenChance, TokenChances } from './generation.ts'
import { notFinite } from './sampling.ts'

/**
 * Log-softmax of raw logits [vocabulary], in f64: of the token `id`, and of the `count` most likely ones.
 *
 * @throws NumericalError where logits are NaN or plus infinity.
 * @example chancesOf(Float32Array.of(0, 0), 1, 1) // { id: 1, logprob: -0.69, top: [{ id: 0, logprob: -0.69 }] }
 */
export function chancesOf(logits: Float32Array, id: number, count: number): TokenChances {
  const { top, logSum } = sumOf(logits)
  const chance = (token: number): TokenChance => ({ id: token, logprob: logits[token]! - top - logSum })
  return { ...chance(id), top: likeliestIds(logits, count).map(chance) }
}

/** The largest logit, and the logarithm of the sum of exp(logit - largest). */
function sumOf(logits: Float32Array): { top: number; logSum: number } {
  let top = -Infinity
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id]!
    if (!(logit < Infinity)) throw notFinite(id, logit)
    if (logit > top) top = logit
  }
  let sum = 0
  for (let id = 0; id < logits.length; id++) sum += Math.exp(logits[id]! - top)
  return { top, logSum: Math.log(sum) }
}

/** Ids of the largest logits, the largest first, of equal ones the lowest id. Few of many. */
function likeliestIds(logits: Float32Array, count: number): number[] {
  const ids: number[] = []
  for (let id = 0; count > 0 && id < logits.length; id++) {
    const logit = logits[id]!
    if (ids.length === count && !(logit > logits[ids.at(-1)!]!)) continue
    let place = ids.length
    while (place > 0 && logit > logits[ids[place - 1]!]!) place--
    ids.splice(place, 0, id)
    if (ids.length > count) ids.pop()
  }
  return ids
}
