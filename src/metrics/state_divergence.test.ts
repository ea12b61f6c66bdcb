import { expect, test } from 'vitest'
import type { LanguageHead } from '../models/language_model.ts'
import { tensor } from '../tensor/index.ts'
import { comparedRows, StateDivergence } from './state_divergence.ts'

/** Hidden states that are logits already. */
const head: LanguageHead = { logits: (hidden) => hidden, resources: () => [] }
/** States [windows, tokens, vocabulary] whose softmax is `chances` at every token of a window. */
const states = (chances: readonly (readonly number[])[], count: number) =>
  tensor(
    chances.flatMap((row) => Array.from({ length: count }, () => row.map(Math.log)).flat()),
    [chances.length, count, chances[0]!.length],
  )
const kl = (p: readonly number[], q: readonly number[]) =>
  p.reduce((sum, chance, i) => sum + chance * Math.log(chance / q[i]!), 0)

const [even, left, right] = [
  [0.5, 0.5],
  [0.8, 0.2],
  [0.1, 0.9],
]

test('each variant has the mean over its windows, and the standard error of that mean', () => {
  // 300 tokens do not fit into one piece of 256 rows, and windows end inside of pieces.
  const divergence = new StateDivergence({ variants: 2, vocabulary: 2 })
  divergence.add(head, states([even, left], 150), (variant) =>
    variant === 0 ? states([even, left], 150) : states([left, right], 150),
  )
  divergence.add(head, states([right], 7), (variant) => states([variant === 0 ? right : even], 7))
  const [same, other] = divergence.results()
  expect(same!.kl).toBeCloseTo(0, 6)
  expect(same!.standardError).toBeCloseTo(0, 6)
  const windows = [kl(even, left), kl(left, right), kl(right, even)]
  const mean = windows.reduce((a, b) => a + b, 0) / 3
  expect(other!.kl).toBeCloseTo(mean, 5)
  const variance = windows.reduce((sum, each) => sum + (each - mean) ** 2, 0) / 2
  expect(other!.standardError).toBeCloseTo(Math.sqrt(variance / 3), 5)
})
test('fewer rows at a time give the same figures', () => {
  const found = [undefined, 64, 32].map((rows) => {
    const divergence = new StateDivergence({ variants: 1, vocabulary: 2, ...(rows ? { rows } : {}) })
    divergence.add(head, states([even, left], 150), () => states([left, right], 150))
    return divergence.results()
  })
  expect(found[1]).toEqual(found[0])
  expect(found[2]).toEqual(found[0])
})
test('rows are as many as fit into 64 MiB of logits, 32 to 256 unless there are to be fewer', () => {
  expect([1e3, 1e5, 1e7].map((vocabulary) => comparedRows(vocabulary))).toEqual([256, 167, 32])
  expect(comparedRows(1e5, 64)).toBe(64)
})
test('one window has no standard error', () => {
  const divergence = new StateDivergence({ variants: 1, vocabulary: 2 })
  divergence.add(head, states([even], 3), () => states([left], 3))
  const [found] = divergence.results()
  expect(found!.kl).toBeCloseTo(kl(even, left), 6)
  expect(found).not.toHaveProperty('standardError')
})
