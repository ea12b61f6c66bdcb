import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { currentKernels, scope, tensor } from '../tensor/index.ts'
import { GrowingCache } from './key_value_cache.ts'
import { distance, expectedOf, numbers, withFixture } from './llama/fixtures.suite.ts'

describe.each(['llama-tied', 'mistral', 'qwen2', 'llama-gptq-4'] as const)('%s', (name) => {
  const { tokens, logits } = expectedOf(name)
  test.each([
    ['token by token', Array(16).fill(1)],
    ['a prompt and then tokens', [10, 1, 1, 1, 1, 1, 1]],
    ['pieces of different length', [3, 5, 8]],
  ])('decoding in %s gives the logits of the whole text', (_, lengths) => {
    withFixture(name, (resident, { model }) => {
      const cache = new GrowingCache(model.config.layers.length)
      const found: number[] = []
      for (let start = 0, i = 0; start < 16; start += lengths[i++]!) {
        const piece = resident.forward(tokens.slice(start, start + lengths[i]!), { cache })
        found.push(...numbers(piece))
        expect(cache.length).toBe(start + lengths[i]!)
      }
      expect(distance(found, logits)).toBeLessThan(1e-5)
      cache.dispose()
    })
  })
  test('after a cut the text goes on another way', () => {
    withFixture(name, (resident, { model }) => {
      const cache = new GrowingCache(model.config.layers.length)
      resident.forward(Uint32Array.of(...tokens.slice(0, 6), 1, 2, 3), { cache })
      cache.truncate(6)
      expect(cache.length).toBe(6)
      const rest = numbers(resident.forward(tokens.slice(6), { cache }))
      expect(distance(rest, logits.slice(6 * 32))).toBeLessThan(1e-5)
      cache.dispose()
    })
  })
})

test('a cache outlives the scopes that fill it, frees what it replaces, and all of it in the end', () => {
  const before = currentKernels().memory().tensors
  const cache = new GrowingCache(1)
  for (let i = 0; i < 5; i++) {
    scope(() => {
      const { keys } = cache.append(0, tensor([i, i], [1, 1, 1, 2]), tensor([-i, -i], [1, 1, 1, 2]))
      expect(numbers(keys)).toEqual(Array.from({ length: 2 * i + 2 }, (_, at) => at >> 1))
    })
  }
  // Room for 16 tokens, each with two keys and two values of 4 bytes.
  expect([cache.length, cache.bytes]).toEqual([5, 256])
  cache.dispose()
  expect([cache.length, cache.bytes]).toEqual([0, 0])
  expect(currentKernels().memory().tensors).toBe(before)
})
test('the length counts tokens that every block holds', () => {
  const cache = new GrowingCache(2)
  const one = tensor([1, 2], [1, 1, 1, 2])
  cache.append(0, one, one)
  expect(cache.length).toBe(0)
  cache.append(1, one, one)
  expect(cache.length).toBe(1)
  cache.dispose()
})
test('a block that the model does not have is refused', () => {
  const one = tensor([1, 2], [1, 1, 1, 2])
  expect(() => new GrowingCache(1).append(1, one, one)).toThrow(OptionError)
  expect(() => new GrowingCache(0)).toThrow(OptionError)
})
test('memory doubles where it is full and the tokens move with it, whatever the batch, heads and number type', () => {
  const kernels = currentKernels()
  const [batch, heads, size] = [2, 3, 4]
  for (const dtype of ['f32', 'bf16'] as const) {
    const cache = new GrowingCache(1)
    const before = kernels.memory().live
    const pieces: number[][][] = []
    for (const [i, count] of [1, 16, 1, 40, 3].entries()) {
      const values = Array.from({ length: batch * heads }, (_, at) =>
        Array.from({ length: count * size }, (_, k) => ((i * 31 + at * 7 + k) % 64) - 32),
      )
      pieces.push(values)
      scope(() => {
        const x = tensor(values.flat(), [batch, heads, count, size], dtype)
        const { keys, values: doubled } = cache.append(0, x, x.mul(2))
        const expected = values.flatMap((_, at) => pieces.flatMap((piece) => piece[at]!))
        expect(keys.shape).toEqual([batch, heads, cache.length, size])
        expect(numbers(keys)).toEqual(expected)
        expect(numbers(doubled)).toEqual(expected.map((value) => 2 * value))
      })
    }
    // 1 -> 16, 17 -> 32, 58 -> 64 tokens; keys and values.
    const bytes = 2 * 64 * batch * heads * size * (dtype === 'f32' ? 4 : 2)
    expect([cache.length, cache.bytes, kernels.memory().live - before]).toEqual([61, bytes, bytes])
    cache.dispose()
    expect(kernels.memory().live).toBe(before)
  }
})
test('a token is written, and nothing else is moved, while there is room', () => {
  const kernels = currentKernels()
  const cache = new GrowingCache(1)
  const [prompt, one] = [
    tensor(new Float32Array(2000 * 64), [1, 1, 2000, 64]),
    tensor(new Float32Array(64), [1, 1, 1, 64]),
  ]
  cache.append(0, prompt, prompt)
  cache.append(0, one, one)
  const { live } = kernels.memory()
  kernels.resetPeak()
  for (let i = 0; i < 100; i++) cache.append(0, one, one)
  expect([cache.length, kernels.memory().live]).toEqual([2101, live])
  // A copy of the cache would take 500 kB.
  expect(kernels.memory().peak - live).toBeLessThan(10_000)
  for (const each of [cache, prompt, one]) each.dispose()
})
test('after a cut the room is used again, and the tokens before it stay as they are', () => {
  const cache = new GrowingCache(1)
  const token = (value: number) => tensor([value], [1, 1, 1, 1])
  for (const value of [1, 2, 3]) cache.append(0, token(value), token(-value))
  const { bytes } = cache
  cache.truncate(1)
  const { keys, values } = cache.append(0, token(9), token(-9))
  expect([numbers(keys), numbers(values)]).toEqual([
    [1, 9],
    [-1, -9],
  ])
  expect(cache.bytes).toBe(bytes)
  cache.dispose()
})
test('a cache that knows how many tokens come has room for no more, and refuses more', () => {
  const cache = new GrowingCache(1, 40)
  const of = (tokens: number) => tensor(new Float32Array(tokens), [1, 1, tokens, 1])
  const rooms = [3, 14, 16].map((tokens) => {
    cache.append(0, of(tokens), of(tokens))
    // Keys and values of 4 bytes.
    return cache.bytes / 8
  })
  expect(rooms).toEqual([16, 32, 40])
  expect(() => cache.append(0, of(8), of(8))).toThrow(/has room for 40 tokens, got 41/)
  cache.dispose()
})
