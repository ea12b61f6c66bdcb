import { describe, expect, test } from 'vitest'
import type { LanguageModel } from '../models/language_model.ts'
import { distance, expectedOf, openFixture } from '../models/llama/fixtures.suite.ts'
import { AbortError } from '../tensor/errors.ts'
import { currentKernels, tensor } from '../tensor/index.ts'
import { type LanguageOptions, languageMetrics } from './language.ts'
import { cutWindows } from './windows.ts'

/** A model that knows the distribution of the next token from the last one alone. */
function tableModel(probabilities: readonly (readonly number[])[]): LanguageModel {
  const vocabulary = probabilities[0]!.length
  return {
    stages: [],
    embed: (ids) =>
      tensor(Array.from(ids, (id) => probabilities[id]!.map(Math.log)).flat(), [ids.length, vocabulary]),
    context: () => ({ rotary: { cos: tensor([1]), sin: tensor([0]) } }),
    loadHead: () => ({ logits: (hidden) => hidden, resources: () => [] }),
  }
}
const uniform = (size: number) => tableModel(Array.from({ length: size }, () => Array(size).fill(1 / size)))
const tokens = Uint32Array.from({ length: 60 }, (_, i) => (i * i + 3 * i) % 5)

describe('perplexity', () => {
  test('a uniform model has the perplexity of its vocabulary', async () => {
    for (const protocol of ['nonoverlap', 'llama.cpp'] as const) {
      const { perplexity } = await languageMetrics({
        model: uniform(5),
        windows: cutWindows(tokens, { context: 12, protocol }),
      })
      expect(perplexity).toBeCloseTo(5, 5)
    }
  })
  test('a sure and right model has 1', async () => {
    const model = tableModel(
      [
        [0, 1],
        [1, 0],
      ].map((row) => row.map((p) => Math.max(p, 1e-30))),
    )
    const windows = cutWindows(
      Uint32Array.from({ length: 8 }, (_, i) => i % 2),
      { context: 8 },
    )
    expect((await languageMetrics({ model, windows })).perplexity).toBeCloseTo(1, 6)
  })
  test('it is exp of the mean loss, worked by hand', async () => {
    // 0 -> 1 -> 1 -> 0 has 3/4, 1/2, 1/2.
    const model = tableModel([
      [1 / 4, 3 / 4],
      [1 / 2, 1 / 2],
    ])
    const metrics = await languageMetrics({
      model,
      windows: cutWindows(Uint32Array.of(0, 1, 1, 0), { context: 4 }),
    })
    expect(metrics.perplexity).toBeCloseTo((3 / 16) ** (-1 / 3), 6)
    expect(metrics).toEqual({ perplexity: metrics.perplexity, tokens: 3, protocol: '4/nonoverlap' })
  })
  test('llama.cpp scores predictions from the middle of a window on', async () => {
    const model = tableModel([
      [1 / 4, 3 / 4],
      [1 / 2, 1 / 2],
    ])
    const windows = cutWindows(Uint32Array.of(0, 1, 1, 0), { context: 4, protocol: 'llama.cpp' })
    // The token at 2 predicts the one at 3: once 1/2.
    expect(await languageMetrics({ model, windows })).toEqual({
      perplexity: expect.closeTo(2, 6),
      tokens: 1,
      protocol: 'llama.cpp/4',
    })
  })
  test('windows longer than the rows of logits in memory score every token once', async () => {
    const long = Uint32Array.from({ length: 201 }, (_, i) => i % 5)
    const { tokens: count, perplexity } = await languageMetrics({
      model: uniform(5),
      windows: cutWindows(long, { context: 201 }),
    })
    expect(count).toBe(200)
    expect(perplexity).toBeCloseTo(5, 5)
  })
  test('smaller pieces give the same figures', async () => {
    const open = openFixture('llama-tied')
    const against = openFixture('llama-untied')
    const long = Uint32Array.from({ length: 120 }, (_, i) => (i * i + 3 * i) % open.model.config.vocabulary)
    const metrics = (split?: LanguageOptions['split']) =>
      languageMetrics({
        model: open.model,
        against: against.model,
        windows: cutWindows(long, { context: 24 }),
        split,
      })
    const whole = await metrics()
    const pieces = await metrics({ stateBytes: 0, batchTokens: 24, logitRows: 4, headRows: 10 })
    // Sums of losses are cut elsewhere, so that their last digits differ.
    for (const name of ['perplexity', 'perplexitySource', 'kl', 'klStandardError', 'kl99', 'top1'] as const)
      expect(Math.abs(pieces[name]! / whole[name]! - 1)).toBeLessThan(1e-5)
    expect(pieces.tokens).toBe(whole.tokens)
    open.close()
    against.close()
  })
  test('of a real model it is that of the expected logits', async () => {
    const { tokens: ids, logits, vocabulary } = expectedOf('llama-tied')
    let loss = 0
    for (let i = 0; i + 1 < ids.length; i++) {
      const row = logits.subarray(i * vocabulary, (i + 1) * vocabulary)
      loss += Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[ids[i + 1]!]!
    }
    const open = openFixture('llama-tied')
    const { perplexity } = await languageMetrics({
      model: open.model,
      windows: cutWindows(ids, { context: 16 }),
    })
    open.close()
    expect(distance([perplexity], [Math.exp(loss / 15)])).toBeLessThan(1e-5)
  })
})

describe('distance from a source', () => {
  const source = tableModel([
    [1 / 2, 1 / 2],
    [1 / 2, 1 / 2],
  ])
  const other = tableModel([
    [1 / 4, 3 / 4],
    [3 / 4, 1 / 4],
  ])

  test('of a model from itself is 0, and both agree everywhere', async () => {
    const windows = cutWindows(
      tokens.map((t) => t % 2),
      { context: 12 },
    )
    const metrics = await languageMetrics({ model: other, against: other, windows })
    expect([metrics.kl, metrics.klStandardError, metrics.kl99, metrics.top1]).toEqual([0, 0, 0, 1])
    expect(metrics.perplexitySource).toBe(metrics.perplexity)
  })
  test('is sum p (log p - log q), p being the source, worked by hand', async () => {
    const windows = cutWindows(Uint32Array.of(0, 1, 1, 0), { context: 4 })
    const metrics = await languageMetrics({ model: other, against: source, windows })
    expect(metrics.kl).toBeCloseTo(0.5 * Math.log(2) + 0.5 * Math.log(2 / 3), 6)
    expect(metrics.perplexitySource).toBeCloseTo(2, 6)
    expect(metrics.klStandardError).toBeUndefined()
    const turned = await languageMetrics({ model: source, against: other, windows })
    expect(turned.kl).toBeCloseTo(0.25 * Math.log(1 / 2) + 0.75 * Math.log(3 / 2), 6)
  })
  test('has the standard error of the mean over windows', async () => {
    const sharp = tableModel([
      [1 / 2, 1 / 2],
      [3 / 4, 1 / 4],
    ])
    // Windows of zeros have no distance, windows of ones d: mean d / 2, deviation of the two d / sqrt(2).
    const windows = cutWindows(Uint32Array.of(0, 0, 0, 1, 1, 1), { context: 3 })
    const { kl, klStandardError } = await languageMetrics({ model: sharp, against: source, windows })
    const d = 0.5 * Math.log(2 / 3) + 0.5 * Math.log(2)
    expect(kl).toBeCloseTo(d / 2, 6)
    expect(klStandardError).toBeCloseTo(d / 2, 6)
  })
  test('99 of 100 tokens have no more than kl99, in whichever window they are', async () => {
    const rare = tableModel([
      [1 / 2, 1 / 2],
      [3 / 4, 1 / 4],
    ])
    // From 1 the distance is d, from 0 none: d is reached where more than one token of a hundred is a 1.
    const d = 0.5 * Math.log(2 / 3) + 0.5 * Math.log(2)
    const kl99 = async (ones: number) => {
      const ids = Uint32Array.from({ length: 10 * 11 }, (_, i) => (i % 11 === 5 && i < 11 * ones ? 1 : 0))
      const windows = cutWindows(ids, { context: 11 })
      const metrics = await languageMetrics({ model: rare, against: source, windows })
      expect(metrics.tokens).toBe(100)
      return metrics.kl99!
    }
    expect(await kl99(1)).toBeCloseTo(0, 6)
    expect(await kl99(2)).toBeCloseTo(d, 6)
  })
  test('the share of agreement counts tokens where both have one favourite', async () => {
    const model = tableModel([
      [1 / 4, 3 / 4],
      [1 / 4, 3 / 4],
    ])
    const windows = cutWindows(Uint32Array.of(0, 0, 0, 1, 0), { context: 5 })
    // From 0 both favour 1, from 1 the source favours 0: three of four.
    expect((await languageMetrics({ model, against: other, windows })).top1).toBe(0.75)
  })
})

describe('the run', () => {
  const windows = cutWindows(expectedOf('smollm').tokens, { context: 8 })

  test('progress rises to 1, and no tensor is left behind', async () => {
    const before = currentKernels().memory().tensors
    const open = openFixture('smollm')
    const shares: number[] = []
    await languageMetrics({
      model: open.model,
      against: open.model,
      windows,
      progress: (share) => shares.push(share),
    })
    open.close()
    expect(shares).toEqual(shares.toSorted((a, b) => a - b))
    expect(shares.at(-1)).toBeCloseTo(1, 12)
    expect(currentKernels().memory().tensors).toBe(before)
  })
  test('a signal stops it and frees everything', async () => {
    const before = currentKernels().memory().tensors
    const open = openFixture('smollm')
    for (const stopAt of [0.3, 0.9]) {
      const controller = new AbortController()
      const run = languageMetrics({
        model: open.model,
        windows,
        signal: controller.signal,
        progress: (share) => share >= stopAt && controller.abort(),
      })
      await expect(run).rejects.toThrow(AbortError)
    }
    open.close()
    expect(currentKernels().memory().tensors).toBe(before)
  })
})
