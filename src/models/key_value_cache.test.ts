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
  expect([cache.length, cache.bytes]).toEqual([5, 80])
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
