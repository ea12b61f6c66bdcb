import { describe, expect, test } from 'vitest'
import { currentKernels, linear, randomStream, scope } from '../../tensor/index.ts'
import { GrowingCache } from '../key_value_cache.ts'
import { expectedOf, type FixtureName, numbers, withFixture } from './fixtures.suite.ts'
import type { ResidentLlama } from './llama.ts'
import { hiddenStates, logitsAt, rowsOfEqualBits } from './several_sequences.ts'

/** Texts of different length, and how many tokens of each run at once in every step. */
const lengths = [16, 3, 9, 1, 12]
const plan = [
  [7, 0, 5, 0, 1],
  [1, 3, 1, 0, 11],
  [8, 0, 3, 1, 0],
]

/** The logits of every text, row after row, where the rows of each step run together. */
function together(
  resident: ResidentLlama,
  texts: readonly Uint32Array[],
  steps: readonly (readonly number[])[],
  leastRows?: number,
): number[][] {
  const caches = texts.map(() => new GrowingCache(resident.stages.length))
  const found = texts.map((): number[] => [])
  for (const step of steps) {
    const chosen = step.flatMap((tokens, text) => (tokens === 0 ? [] : [{ tokens, text }]))
    const pieces = chosen.map(({ tokens, text }) => {
      const cache = caches[text]!
      return { ids: texts[text]!.subarray(cache.length, cache.length + tokens), cache }
    })
    scope(() => {
      const hidden = hiddenStates(resident, pieces, leastRows)
      let row = 0
      for (const { tokens, text } of chosen) {
        const rows = Array.from({ length: tokens }, () => row++)
        found[text]!.push(...numbers(logitsAt(resident, hidden, rows, leastRows)))
      }
    })
  }
  for (const cache of caches) cache.dispose()
  return found
}

describe.each([
  'llama-tied',
  'llama-head-size',
  'llama-rope-llama3',
  'mistral',
  'qwen2',
  'llama-gptq-4',
] as const)('%s', (name: FixtureName) => {
  const { tokens } = expectedOf(name)
  const texts = lengths.map((length, i) =>
    Uint32Array.from({ length }, (_, at) => tokens[(at + 5 * i) % 16]!),
  )
  test('five sequences of different length at once have the logits of each alone', () => {
    withFixture(name, (resident) => {
      const found = together(resident, texts, plan)
      for (const [i, text] of texts.entries()) {
        const wanted = numbers(resident.forward(text))
        const scale = Math.max(...wanted.map(Math.abs))
        const off = Math.max(...wanted.map((value, at) => Math.abs(value - found[i]![at]!)))
        expect(found[i]).toHaveLength(wanted.length)
        // f32 sums of up to 32 products in a few layers.
        expect(off / scale).toBeLessThan(1e-5)
      }
    })
  })
  test('not a bit of a sequence depends on what runs beside it', () => {
    withFixture(name, (resident) => {
      const found = together(resident, texts, plan)
      for (const [i, text] of texts.entries()) {
        const alone = plan.map((step) => [step[i]!])
        expect(found[i]).toEqual(together(resident, [text], alone)[0])
      }
    })
  })
})

test('one sequence without rows that fill up has the bits of a forward with a cache', () => {
  withFixture('llama-tied', (resident) => {
    const { tokens } = expectedOf('llama-tied')
    const steps = [[10], [1], [1], [4]]
    const cache = new GrowingCache(resident.stages.length)
    const wanted = steps.flatMap(([count]) =>
      numbers(resident.forward(tokens.subarray(cache.length, cache.length + count!), { cache })),
    )
    expect(together(resident, [tokens], steps, 1)[0]).toEqual(wanted)
    cache.dispose()
  })
})
test('from four rows on a row of a product has the same bits among any number of rows', () => {
  const stream = randomStream(1, 'rows')
  for (const dtype of ['f32', 'bf16'] as const)
    for (const [inputs, outputs] of [
      [64, 64],
      [96, 33],
      [576, 192],
      [2100, 300],
      [300, 2100],
    ] as const)
      scope(() => {
        const w = stream.normal([outputs, inputs]).cast(dtype)
        const x = stream.normal([300, inputs]).cast(dtype)
        const all = numbers(linear(x, w))
        for (const rows of [rowsOfEqualBits, 5, 7, 8, 15, 16, 17, 33, 257]) {
          const found = numbers(linear(x.slice(0, 11, 11 + rows), w))
          expect(found).toEqual(all.slice(11 * outputs, (11 + rows) * outputs))
        }
        // Fewer take another path, which is as exact: sums of up to 2100 products, rounded to f32 or once to bf16.
        for (let rows = 1; rows < rowsOfEqualBits; rows++) {
          const found = numbers(linear(x.slice(0, 11, 11 + rows), w))
          const off = found.map((value, i) => Math.abs(value - all[11 * outputs + i]!))
          expect(Math.max(...off)).toBeLessThan(2 * Math.sqrt(inputs) * (dtype === 'f32' ? 2e-6 : 2 ** -7))
        }
      })
})
test('no tensor stays but those of the caches', () => {
  withFixture('mistral', (resident) => {
    const { tokens } = expectedOf('mistral')
    const before = currentKernels().memory().tensors
    together(
      resident,
      [tokens, tokens.subarray(0, 5)],
      [
        [16, 2],
        [0, 3],
      ],
    )
    expect(currentKernels().memory().tensors).toBe(before)
  })
})
