import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { randomStream } from '../tensor/index.ts'
import { hadamardCores, hadamardMatrix } from './hadamard.ts'
import { rotateVectors, signsOf } from './rotation.ts'

const normal = (count: number) => randomStream(5, 'vectors').normal([count], 'f64').toArray() as Float64Array
const rows = (size: number, count: number) => ({ start: 0, step: 1, apart: size, count })
const largest = (values: ArrayLike<number>) => Math.max(...Array.from(values, Math.abs))

describe.each([...hadamardCores, 2, 24, 64, 576])('with %i elements', (size) => {
  const rotation = { size, seed: 3 }
  // More vectors than are rotated side by side.
  const count = 67

  test('the fast transform is the dense matrix', () => {
    const values = normal(size * count)
    const fast = Float64Array.from(values)
    rotateVectors(fast, rotation, rows(size, count))
    const signs = signsOf(rotation)
    const matrix = hadamardMatrix(size)
    for (const vector of [0, 1, count - 1])
      for (let column = 0; column < size; column++) {
        let sum = 0
        for (let i = 0; i < size; i++)
          sum += values[vector * size + i]! * signs[i]! * matrix[i * size + column]!
        expect(fast[vector * size + column]).toBeCloseTo(sum / Math.sqrt(size), 12)
      }
  })

  test('a rotation and its transpose are the identity', () => {
    const values = normal(size * count)
    const turned = Float64Array.from(values)
    rotateVectors(turned, rotation, rows(size, count))
    rotateVectors(turned, rotation, rows(size, count), 'back')
    // 2 n (k + K) additions of numbers of about 1.
    expect(largest(turned.map((x, i) => x - values[i]!))).toBeLessThan(1e-12)
  })
})

test('columns are rotated as rows are', () => {
  const [size, count] = [12, 5]
  const values = normal(size * count)
  const byRows = Float64Array.from(values)
  rotateVectors(byRows, { size, seed: 1 }, rows(size, count))
  const byColumns = Float64Array.from(
    values,
    (_, place) => values[(place % count) * size + Math.floor(place / count)]!,
  )
  rotateVectors(byColumns, { size, seed: 1 }, { start: 0, step: count, apart: 1, count })
  byColumns.forEach((x, place) => {
    expect(x).toBe(byRows[(place % count) * size + Math.floor(place / count)]!)
  })
})

test('signs come from the seed and the size, about as many of each', () => {
  const minus = (seed: number) => signsOf({ size: 4096, seed }).filter((sign) => sign < 0).length
  for (const seed of [0, 1]) expect(Math.abs(minus(seed) - 2048)).toBeLessThan(5 * 32)
  expect([...signsOf({ size: 64, seed: 0 })]).not.toEqual([...signsOf({ size: 64, seed: 1 })])
  expect(() => signsOf({ size: 4, seed: 0.5 })).toThrow(OptionError)
})
