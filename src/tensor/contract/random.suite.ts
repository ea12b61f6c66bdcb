import { expect } from 'vitest'
import { OptionError, StateError } from '../errors.ts'
import { currentKernels, randomStream, Tensor } from '../index.ts'
import { type Claim, valuesOf } from './claims.suite.ts'

/** Raw words of the current kernels. */
function words(key: bigint, counter: bigint, count: number): number[] {
  const kernels = currentKernels()
  return valuesOf(new Tensor(kernels, kernels.random('bits', 'u32', [count], key, counter), 'u32', [count]))
}
export function randomClaims(claim: Claim): void {
  claim('Philox4x32-10 gives the known answers of Random123', () => {
    const zero = [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
    expect(words(0n, 0n, 4)).toEqual(zero)
    expect(words(0n, 0n, 3)).toEqual(zero.slice(0, 3))
    expect(words(0n, 0n, 9).slice(4, 8)).toEqual(words(0n, 1n, 4))
    expect(words(7n, 2n ** 32n - 1n, 8).slice(4)).toEqual(words(7n, 2n ** 32n, 4))
  })
  claim('uniform numbers lie in [0, 1) and have its moments; normal ones have theirs', () => {
    const count = 40_000
    const u = randomStream(1, 'moments').uniform([count], 'f64')
    expect(u.min().item()).toBeGreaterThanOrEqual(0)
    expect(u.max().item()).toBeLessThan(1)
    // Five standard errors: 1 / sqrt(12 n) for a mean, sqrt(1 / 180 n) for a variance.
    expect(Math.abs(u.mean().item() - 0.5)).toBeLessThan(5 / Math.sqrt(12 * count))
    expect(Math.abs(u.variance().item() - 1 / 12)).toBeLessThan(5 / Math.sqrt(180 * count))
    const z = randomStream(1, 'moments').normal([count], 'f64')
    expect(Math.abs(z.mean().item())).toBeLessThan(5 / Math.sqrt(count))
    expect(Math.abs(z.variance().item() - 1)).toBeLessThan(5 * Math.sqrt(2 / count))
    // Neighbours of a pair share their radius but are independent.
    const pairs = z.reshape([count / 2, 2])
    expect(Math.abs(pairs.prod(1).mean().item())).toBeLessThan(5 / Math.sqrt(count / 2))
  })
  claim('a saved position continues the stream, and streams differ by seed and by name', () => {
    const stream = randomStream(3, 'a')
    stream.uniform([5])
    stream.normal([3])
    const saved = JSON.parse(JSON.stringify(stream.state())) as ReturnType<typeof stream.state>
    expect(stream.position).toBe(3n)
    const next = stream.bits([10]).bytes()
    const later = randomStream(3, 'a')
    later.load(saved)
    expect(later.bits([10]).bytes()).toEqual(next)
    expect(stream.position).toBe(6n)
    const others = [randomStream(4, 'a'), randomStream(3, 'b'), randomStream(31, '')]
    for (const other of others)
      expect(other.bits([4]).bytes()).not.toEqual(randomStream(3, 'a').bits([4]).bytes())
    expect(() => randomStream(3, 'b').load(saved)).toThrow(StateError)
    expect(() => randomStream(3, 'a').load({ ...saved, position: '-1' })).toThrow(StateError)
    expect(() => randomStream(0.5, 'a')).toThrow(OptionError)
  })
  claim('permutations hold every number once, and integers are fair', () => {
    const stream = randomStream(9, 'order')
    const order = valuesOf(stream.permutation(1000))
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i))
    expect(order).not.toEqual([...order].sort((a, b) => a - b))
    expect(valuesOf(randomStream(9, 'order').permutation(1000))).toEqual(order)
    expect(valuesOf(stream.permutation(0))).toEqual([])
    const counts = [0, 0, 0]
    for (let i = 0; i < 3000; i++) counts[stream.integer(3)]!++
    // Five standard deviations of a binomial count.
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(5 * Math.sqrt(3000 * (2 / 9)))
    expect(stream.integer(1)).toBe(0)
    expect(() => stream.integer(0)).toThrow(OptionError)
  })
  claim('bernoulli is true with its probability', () => {
    const stream = randomStream(2, 'drop')
    const share = stream.bernoulli(0.3, [100, 100]).cast('f32').mean().item()
    expect(Math.abs(share - 0.3)).toBeLessThan(5 * Math.sqrt(0.21 / 10_000))
    expect(stream.bernoulli(0, [100]).any().item()).toBe(0)
    expect(stream.bernoulli(1, [100]).all().item()).toBe(1)
    expect(() => stream.bernoulli(1.5, [1])).toThrow(OptionError)
  })
  claim('empty draws take nothing from the stream', () => {
    const stream = randomStream(1, 'none')
    for (const x of [stream.bits([0]), stream.uniform([2, 0], 'f64'), stream.normal([0])])
      expect(x.size).toBe(0)
    expect(stream.position).toBe(0n)
  })
}
