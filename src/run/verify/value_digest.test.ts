import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { randomStream, scope, tensor } from '../../tensor/index.ts'
import { digestSchema } from './digest_schema.ts'
import { digestDistance, digestOf } from './value_digest.ts'

const normal = (rows: number, columns: number, name = 'w') => randomStream(3, name).normal([rows, columns])

test('a digest is the SHA-256 of the f32 values row after row, and of matrices the sum of squares and 16 products', () => {
  const values = new Float32Array([1, -2, 0.5, 4])
  scope(() => {
    const { sha256, sketch } = digestOf(tensor(values, [2, 2]))
    expect(sha256).toBe(createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex'))
    expect(sketch!.squares).toBe(1 + 4 + 0.25 + 16)
    expect(sketch!.products).toHaveLength(16)
    expect(digestOf(tensor(values, [4])).sketch).toBeUndefined()
  })
})
test('of a transposed view it is that of its values in their order, in parts or whole', () => {
  scope(() => {
    const wide = normal(3, 2 ** 19)
    // 2^20 numbers are copied at a time: this takes two parts.
    expect(digestOf(wide.transpose()).sha256).toBe(digestOf(wide.transpose().contiguous()).sha256)
    expect(digestOf(wide).sha256).toBe(createHash('sha256').update(wide.bytes()).digest('hex'))
  })
})
test('a single bit is another digest', () => {
  scope(() => {
    const one = normal(8, 16)
    const other = tensor(
      (one.toArray() as Float32Array).map((value, i) =>
        i === 77 ? Math.fround(value * (1 + 2 ** -23)) : value,
      ),
      [8, 16],
    )
    expect(digestOf(other).sha256).not.toBe(digestOf(one).sha256)
    expect(digestDistance(digestOf(other), digestOf(one))).toBeGreaterThan(0)
  })
})
test('the distance of two weights is told within a factor of three', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 16, max: 96 }),
      fc.integer({ min: 16, max: 96 }),
      fc.double({ min: 1e-3, max: 2, noNaN: true }),
      (rows, columns, share) =>
        scope(() => {
          const weight = normal(rows, columns)
          const noise = normal(rows, columns, `noise of ${rows} and ${columns}`).mul(share)
          const length = (x: typeof weight) => Math.sqrt(x.square().sum().item())
          const true_ = length(noise) / length(weight)
          const found = digestDistance(digestOf(weight.add(noise)), digestOf(weight))
          return found > true_ / 3 && found < 3 * true_
        }),
    ),
  )
})
test('two rows that are exchanged are told apart', () => {
  scope(() => {
    const one = normal(64, 32)
    const order = Uint32Array.from({ length: 64 }, (_, i) => (i === 5 ? 9 : i === 9 ? 5 : i))
    const other = one.indexSelect(0, tensor(order, [64], 'u32'))
    expect(digestDistance(digestOf(other), digestOf(one))).toBeGreaterThan(0.02)
  })
})
test('numbers as large as f32 has them stay JSON', () => {
  const digest = scope(() => digestOf(tensor([3e38, -3e38, 3e38, 3e38], [2, 2])))
  expect(digestSchema.parse(JSON.parse(JSON.stringify(digest)))).toEqual(digest)
})
