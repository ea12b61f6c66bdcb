import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { currentKernels, randomStream, scope } from '../tensor/index.ts'
import type { SamplingOptions } from './generation.ts'
import { sampleToken, type TokenHistory } from './sampling.ts'
import { checkedSampling, type Sampling } from './sampling_options.ts'

const nothing: TokenHistory = { read: new Set(), written: new Map() }
const historyOf = (read: readonly number[], written: readonly number[]): TokenHistory => ({
  read: new Set(read),
  written: new Map(written.map((id) => [id, written.filter((other) => other === id).length])),
})
const greedy = (logits: readonly number[], options: SamplingOptions = {}, history = nothing): number =>
  sampleToken(
    Float32Array.from(logits),
    checkedSampling({ temperature: 0, ...options }, logits.length),
    history,
    randomStream(0, 'none'),
  )
/** How often each id comes, of `draws`. */
function counts(
  logits: readonly number[],
  options: SamplingOptions,
  draws: number,
  history = nothing,
): number[] {
  const stream = randomStream(7, 'counts')
  const sampling = checkedSampling(options, logits.length)
  const found = logits.map(() => 0)
  for (let i = 0; i < draws; i++) found[sampleToken(Float32Array.from(logits), sampling, history, stream)]!++
  return found
}
const logOf = (chances: readonly number[]) => chances.map(Math.log)

/** The definition: everything sorted, chances in plain numbers. */
function slow(
  logits: Float32Array,
  sampling: Sampling,
  { read, written }: TokenHistory,
  uniform: number,
): number {
  const { temperature, topK, topP, minP } = sampling
  const scores = Array.from(logits, (logit, id) => {
    let score = logit
    const seen = read.has(id) || written.has(id)
    if (seen) score = score > 0 ? score / sampling.repetitionPenalty : score * sampling.repetitionPenalty
    const times = written.get(id) ?? 0
    score -= times > 0 ? sampling.presencePenalty : 0
    score -= sampling.frequencyPenalty * times
    const bias = sampling.logitBias.get(id) ?? 0
    return bias === -100 ? -Infinity : score + bias
  })
  let order = scores.map((_, id) => id).sort((a, b) => scores[b]! - scores[a]! || a - b)
  const best = order[0]!
  if (temperature === 0) return best
  if (topK > 0) order = order.slice(0, topK)
  const weight = (id: number) => Math.exp((scores[id]! - scores[best]!) / temperature)
  const sum = (ids: readonly number[]) => ids.reduce((all, id) => all + weight(id), 0)
  if (topP < 1) {
    const wanted = topP * sum([...order].sort((a, b) => a - b))
    let reached = 0
    order = order.filter((id) => {
      const open = reached < wanted
      reached += weight(id)
      return open
    })
  }
  order = order.filter((id) => weight(id) >= minP).sort((a, b) => a - b)
  let left = uniform * sum(order)
  for (const id of order) {
    left -= weight(id)
    if (left < 0) return id
  }
  return order.at(-1)!
}

describe('worked by hand', () => {
  test('temperature 0 takes the largest logit, of equal ones the lowest id', () => {
    expect(greedy([1, 3, 2])).toBe(1)
    expect(greedy([1, 3, 3, 3])).toBe(1)
    expect(greedy([-Infinity, -5, -Infinity])).toBe(1)
  })
  test('repetition divides logits above 0 and multiplies others, once for read and written alike', () => {
    const history = historyOf([0], [0, 0, 1])
    // 4 / 2 = 2 < 3, and -1 * 2 = -2.
    expect(greedy([4, -1, 3], { repetitionPenalty: 2 }, history)).toBe(2)
    expect(greedy([4, -1, 1.5], { repetitionPenalty: 2 }, history)).toBe(0)
    expect(greedy([-9, -1, -1.5], { repetitionPenalty: 2 }, history)).toBe(2)
    expect(greedy([-9, -1, -2.5], { repetitionPenalty: 2 }, history)).toBe(1)
    expect(greedy([4, 1, 3], { repetitionPenalty: 0.5 }, historyOf([2], []))).toBe(2)
  })
  test('presence counts once and frequency each time, and only what was written', () => {
    const history = historyOf([1], [0, 0, 0])
    expect(greedy([4, 2.6], { presencePenalty: 1.5 }, history)).toBe(1)
    expect(greedy([4, 2.4], { presencePenalty: 1.5 }, history)).toBe(0)
    expect(greedy([4, 2.6], { frequencyPenalty: 0.5 }, history)).toBe(1)
    expect(greedy([4, 2.4], { frequencyPenalty: 0.5 }, history)).toBe(0)
    expect(greedy([4, 2.4], { frequencyPenalty: 0.5, presencePenalty: 0.2 }, history)).toBe(1)
    expect(greedy([4, 4.5], { frequencyPenalty: -1 }, history)).toBe(0)
  })
  test('a bias is added, and -100 forbids also the one that stands far above', () => {
    expect(greedy([1, 0, 0], { logitBias: new Map([[2, 1.5]]) })).toBe(2)
    expect(greedy([500, 1, 0], { logitBias: new Map([[0, -100]]) })).toBe(1)
    expect(greedy([500, 1, 0], { logitBias: new Map([[0, -99]]) })).toBe(0)
  })
  test('penalties come before the bias: a forbidden token stays so', () => {
    const options = { repetitionPenalty: 0.1, presencePenalty: -2, logitBias: new Map([[0, -100]]) }
    expect(greedy([5, 1], options, historyOf([0], [0]))).toBe(1)
  })
  test('top-k keeps so many, of equal ones the lowest ids', () => {
    expect(counts([1, 2, 2, 2, 0], { topK: 2 }, 400)).toEqual([
      0,
      expect.any(Number),
      expect.any(Number),
      0,
      0,
    ])
    expect(counts([1, 1, 1, 1], { topK: 3 }, 400).map((count) => count > 60)).toEqual([
      true,
      true,
      true,
      false,
    ])
    expect(counts([1, 2, 3], { topK: 9 }, 900).every((count) => count > 0)).toBe(true)
  })
  test('top-p keeps the fewest that reach the share', () => {
    const logits = logOf([0.15, 0.5, 0.05, 0.3])
    const kept = (topP: number) => counts(logits, { topP }, 300).map((count) => count > 0)
    expect(kept(0.45)).toEqual([false, true, false, false])
    expect(kept(0.55)).toEqual([false, true, false, true])
    expect(kept(0.85)).toEqual([true, true, false, true])
    expect(kept(1e-300)).toEqual([false, true, false, false])
  })
  test('top-p takes shares of what top-k left, and min-p those of the likeliest', () => {
    const logits = logOf([0.5, 0.25, 0.125, 0.125])
    // 0.5 / 0.75 is below 0.7 and 0.5 is above 0.45.
    expect(counts(logits, { topK: 2, topP: 0.7 }, 300)[1]).toBeGreaterThan(0)
    expect(counts(logits, { topK: 2, topP: 0.6 }, 300)).toEqual([300, 0, 0, 0])
    expect(counts(logits, { minP: 0.6 }, 300)).toEqual([300, 0, 0, 0])
    expect(counts(logits, { minP: 0.4 }, 300).map((count) => count > 0)).toEqual([true, true, false, false])
    expect(counts(logits, { minP: 1 }, 300)).toEqual([300, 0, 0, 0])
  })
  test('temperature comes before top-p and min-p', () => {
    // Squared: 0.8 and 0.2.
    const logits = logOf([2 / 3, 1 / 3])
    expect(counts(logits, { temperature: 0.5, topP: 0.75 }, 200)).toEqual([200, 0])
    expect(counts(logits, { temperature: 0.5, minP: 0.3 }, 200)).toEqual([200, 0])
    expect(counts(logits, { temperature: 1, topP: 0.75 }, 200)[1]).toBeGreaterThan(0)
  })
})

describe('every id that is drawn is that of the definition', () => {
  const options = fc.record({
    repetitionPenalty: fc.constantFrom(1, 0.5, 1.3, 2),
    presencePenalty: fc.constantFrom(0, -0.5, 1),
    frequencyPenalty: fc.constantFrom(0, 0.25),
    logitBias: fc.constantFrom(new Map<number, number>(), new Map([[1, 3]]), new Map([[0, -100]])),
    temperature: fc.constantFrom(0, 0.01, 0.7, 1, 30),
    topK: fc.constantFrom(0, 1, 2, 5, 100),
    topP: fc.constantFrom(1, 0.1, 0.517, 0.93),
    minP: fc.constantFrom(0, 0.021, 0.5),
    seed: fc.nat(),
  })
  // Quarters, so that many are equal.
  const logit = fc.oneof(
    fc.integer({ min: -20, max: 20 }).map((value) => value / 4),
    fc.constant(-Infinity),
  )
  const ids = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 6 })
  test('for few tokens with any options', () => {
    fc.assert(
      fc.property(
        fc.array(logit, { minLength: 3, maxLength: 24 }),
        options,
        ids,
        ids,
        (logits, chosen, read, written) => {
          const [all, history] = [Float32Array.from([...logits, 1, 0.5]), historyOf(read, written)]
          const sampling = checkedSampling(chosen, all.length)
          const uniform = scope(() => randomStream(chosen.seed, 'a').uniform([1], 'f64').item())
          const before = [...all]
          const found = sampleToken(all, sampling, history, randomStream(chosen.seed, 'a'))
          expect(found).toBe(slow(all, sampling, history, uniform))
          expect([...all]).toEqual(before)
        },
      ),
      { numRuns: 2000 },
    )
  })
  test('for as many tokens as large vocabularies have', () => {
    const stream = randomStream(3, 'large')
    for (const [i, options] of [{}, { topK: 40 }, { topK: 90_000 }, { topP: 0.9 }, { minP: 0.1 }].entries()) {
      const logits = scope(() => stream.normal([151_936]).mul(2).toArray() as Float32Array)
      const sampling = checkedSampling({ ...options, seed: i }, logits.length)
      const uniform = scope(() => randomStream(i, 'a').uniform([1], 'f64').item())
      const found = sampleToken(logits, sampling, nothing, randomStream(i, 'a'))
      expect(found).toBe(slow(logits, sampling, nothing, uniform))
    }
  })
})

test('tokens come as often as their chances say', () => {
  const draws = 20_000
  const logits = [1, -1, 0.5, 2, -3, 0, 1.5, -0.5, 0.25, 0.75, -2, 1.25]
  const temperature = 0.8
  const weights = logits.map((logit) => Math.exp(logit / temperature))
  const sum = weights.reduce((a, b) => a + b)
  const chi = counts(logits, { temperature }, draws).reduce((total, count, id) => {
    const expected = (draws * weights[id]!) / sum
    return total + (count - expected) ** 2 / expected
  }, 0)
  // 11 degrees of freedom: 31.3 is passed once in 1000 seeds, 1.4 not reached as rarely.
  expect(chi).toBeLessThan(31.3)
  expect(chi).toBeGreaterThan(1.4)
})
test('the smallest temperatures take the largest logit, and the largest ones nearly any', () => {
  for (const temperature of [5e-324, 1e-300, 1e-9]) {
    expect(counts([1, 1e30, -1e38, 3e38], { temperature }, 20)).toEqual([0, 0, 0, 20])
  }
  expect(counts([0, 1, 2, 3], { temperature: 100 }, 400).every((count) => count > 60)).toBe(true)
})
test('logits that are no numbers end in a typed error that names the token', () => {
  for (const options of [{ temperature: 0 }, { temperature: 1 }, { topK: 1 }]) {
    const draw = (logits: number[]) => () => counts(logits, options, 1)
    expect(draw([1, Number.NaN, 2])).toThrow(NumericalError)
    expect(draw([Number.NaN, 1])).toThrow(/token 0 needs a finite one, got NaN/)
    expect(draw([1, 2, Infinity])).toThrow(/token 2 needs a finite one, got Infinity/)
    expect(draw([-Infinity, -Infinity])).toThrow(/every token of the vocabulary is ruled out/)
    expect(draw([])).toThrow(NumericalError)
  }
})
test('drawing leaves no tensor', () => {
  const before = currentKernels().memory().tensors
  counts([1, 2, 3], { topK: 2, topP: 0.9, minP: 0.1 }, 50)
  expect(currentKernels().memory().tensors).toBe(before)
})
test.each([
  ['repetitionPenalty', 0],
  ['repetitionPenalty', Infinity],
  ['presencePenalty', 2.1],
  ['presencePenalty', Number.NaN],
  ['frequencyPenalty', -2.1],
  ['temperature', -0.1],
  ['temperature', 101],
  ['topK', 1.5],
  ['topK', -1],
  ['topP', 0],
  ['topP', 1.01],
  ['minP', -0.1],
  ['minP', 1.1],
  ['seed', 0.5],
  ['seed', 2 ** 53],
  ['logitBias', { 1: 2 }],
  ['logitBias', new Map([[8, 1]])],
  ['logitBias', new Map([[-1, 1]])],
  ['logitBias', new Map([[1, 101]])],
  ['logitBias', new Map([[1, Number.NaN]])],
])('%s of %s is refused by name', (option, value) => {
  const check = () => checkedSampling({ [option]: value }, 8)
  expect(check).toThrow(OptionError)
  expect(check).toThrow(expect.objectContaining({ code: 'PARE_E_SAMPLING', facts: { option } }))
})
test('what is not said has the documented default, and a seed of chance', () => {
  const [one, other] = [checkedSampling({}, 8), checkedSampling({}, 8)]
  expect(one).toEqual({
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    logitBias: new Map(),
    temperature: 1,
    topK: 0,
    topP: 1,
    minP: 0,
    seed: expect.any(Number),
  })
  expect(one.seed).not.toBe(other.seed)
})
