/** One token from the logits of a model. */
import { NumericalError } from '../tensor/errors.ts'
import { type RandomStream, scope } from '../tensor/index.ts'
import { type Largest, largestByCount, largestByShare } from './largest_values.ts'
import { forbidden, type Sampling } from './sampling_options.ts'

/** The ids of a text so far. */
export interface TokenHistory {
  /** Those of the prompt. */
  read: ReadonlySet<number>
  /** Those of the text behind it, each with how many times it was written. */
  written: ReadonlyMap<number, number>
}

/**
 * The next token: the logits after the transforms of `SamplingOptions` in their order, and a token by its chance.
 * Of equally likely tokens the lowest ids stay. Temperature 0 draws no random number, others one.
 *
 * @param logits [vocabulary]; minus infinity for tokens that never come. They are left as they are.
 * @throws NumericalError where logits are NaN or plus infinity, or where no token has a chance.
 * @example sampleToken(logits, checkedSampling({ topK: 40 }, logits.length), history, randomStream(1, 'text'))
 */
export function sampleToken(
  logits: Float32Array,
  sampling: Sampling,
  history: TokenHistory,
  stream: RandomStream,
): number {
  const scores = adjusted(logits, sampling, history)
  const best = likeliest(scores)
  const { temperature, topK, topP, minP } = sampling
  if (temperature === 0) return best
  if (topK > 0 && topK < scores.length) keepLargest(scores, largestByCount(scores, topK), -Infinity)
  const top = scores[best]!
  // exp of the distance to the largest, which has 1; nothing overflows however small the temperature is.
  const weights = scores
  for (let id = 0; id < weights.length; id++) weights[id] = Math.exp((scores[id]! - top) / temperature)
  if (topP < 1) keepLargest(weights, largestByShare(weights, topP), 0)
  if (minP > 0) for (let id = 0; id < weights.length; id++) if (weights[id]! < minP) weights[id] = 0
  return drawn(weights, stream)
}

/** Logits after penalties and biases, in f64. */
function adjusted(logits: Float32Array, sampling: Sampling, { read, written }: TokenHistory): Float64Array {
  const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias } = sampling
  const scores = new Float64Array(logits)
  if (repetitionPenalty !== 1) {
    const repeat = (id: number) => {
      const score = scores[id]!
      scores[id] = score > 0 ? score / repetitionPenalty : score * repetitionPenalty
    }
    for (const id of read) repeat(id)
    for (const id of written.keys()) if (!read.has(id)) repeat(id)
  }
  if (presencePenalty !== 0 || frequencyPenalty !== 0) {
    for (const [id, times] of written) scores[id] = scores[id]! - presencePenalty - frequencyPenalty * times
  }
  for (const [id, bias] of logitBias) scores[id] = bias === forbidden ? -Infinity : scores[id]! + bias
  return scores
}

/** The id of the largest score, the lowest of equal ones. */
function likeliest(scores: Float64Array): number {
  let best = 0
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id]!
    if (score > scores[best]!) best = id
    else if (Number.isNaN(score)) throw notFinite(id, score)
  }
  const top = scores[best] ?? -Infinity
  if (top === Infinity) throw notFinite(best, top)
  if (top > -Infinity) return best
  throw new NumericalError(
    'sampling: every token of the vocabulary is ruled out; forbid fewer of them by logitBias',
    { code: 'PARE_E_NO_TOKEN' },
  )
}

/** What stands in the way of drawing from logits. */
export const notFinite = (id: number, value: number): NumericalError =>
  new NumericalError(
    `logits: token ${id} needs a finite one, got ${value}; the weights of the model are damaged, or too large for its number type`,
    { code: 'PARE_E_LOGITS', facts: { token: id } },
  )

/** Puts `nothing` in place of all but the largest values; of those equal to the least the lowest ids stay. */
function keepLargest(values: Float64Array, { least, equal }: Largest, nothing: number): void {
  let room = equal
  for (let id = 0; id < values.length; id++) {
    const value = values[id]!
    if (value > least || (value === least && room-- > 0)) continue
    values[id] = nothing
  }
}

/** An id with the chance of its weight, by where a uniform number falls among the sums in the order of ids. */
function drawn(weights: Float64Array, stream: RandomStream): number {
  let sum = 0
  for (let id = 0; id < weights.length; id++) sum += weights[id]!
  let left = scope(() => stream.uniform([1], 'f64').item()) * sum
  let last = 0
  for (let id = 0; id < weights.length; id++) {
    if (weights[id] === 0) continue
    last = id
    left -= weights[id]!
    if (left < 0) break
  }
  return last
}
