import { describe, expect, test } from 'vitest'
import { NumericalError, ShapeError } from '../tensor/errors.ts'
import { randomStream, setThreads, type Tensor, tensor, threads } from '../tensor/index.ts'
import { oracleLevels } from './level_sweep.oracle.suite.ts'
import { levelSweep } from './level_sweep.ts'
import { dampedHessian, sweepFactor, syntheticLayer } from './synthetic_layer.suite.ts'
import { decodeColumnLevels, unpackLevels } from './values/column_levels.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const layer = syntheticLayer({ seed: 4, rows: 19, columns: 40, tokens: 300 })
const hessian = dampedHessian(layer.gram, 0.01)
const sorted = randomStream(1, 'order').permutation(40).toArray() as Uint32Array
const kinds = [1, 2, 3, 4, 7, 8, 11, 300, 65535]
const levels = Uint16Array.from({ length: 40 }, (_, column) => kinds[(column * 5) % kinds.length]!)

describe.each([false, true])('centred: %s', (centred) => {
  test.each<[string, Uint32Array | undefined, boolean]>([
    ['first to last', undefined, true],
    ['sorted', sorted, true],
    ['without a factor', undefined, false],
  ])('the native sweep equals plain loops in every bit of f64: %s', (_, order, swept) => {
    const factor = swept ? sweepFactor(hessian, order) : undefined
    const found = levelSweep(layer.weight, { levels, centred, factor, order })
    const expected = oracleLevels(layer.weight.toArray() as Float64Array, 40, {
      ...{ levels, centred, order },
      factor: factor?.toArray() as Float64Array | undefined,
    })
    const { words, levels: stored } = found.values
    expect(numbers(unpackLevels(words, stored, 19))).toEqual(expected.codes)
    expect(numbers(found.dense)).toEqual(expected.dense)
    expect(found.clipped).toBe(expected.clipped)
    // Losses are added row after row, and by tiles of 16 rows.
    for (const [column, loss] of expected.losses.entries())
      expect(Math.abs(found.losses[column]! - loss)).toBeLessThanOrEqual(1e-14 * loss)
  })
  test('words decode to the values of the sweep, in f32 and in f64', () => {
    for (const dtype of ['f32', 'f64'] as const) {
      const factor = sweepFactor(hessian).cast(dtype)
      const { values, dense } = levelSweep(layer.weight.cast(dtype), { levels, centred, factor })
      expect(numbers(decodeColumnLevels(values))).toEqual(numbers(dense))
    }
  })
})

test('results do not depend on the number of threads', () => {
  const before = threads()
  const results = [1, 2, 5].map((count) => {
    setThreads(count)
    const found = levelSweep(layer.weight, { levels, centred: false, factor: sweepFactor(hessian) })
    return [...found.losses, ...numbers(found.dense)]
  })
  setThreads(before)
  expect(results[1]).toEqual(results[0])
  expect(results[2]).toEqual(results[0])
})
test('weights that are not finite or leave f16, and columns without levels, are refused', () => {
  const options = { levels: new Uint16Array(4).fill(3), centred: false }
  for (const value of [Number.NaN, Number.NEGATIVE_INFINITY, 1e6])
    expect(() => levelSweep(tensor([1, 2, value, 3], [1, 4]), options)).toThrow(NumericalError)
  for (const wrong of [Uint16Array.of(3, 3, 0, 3), Uint16Array.of(3)])
    expect(() => levelSweep(tensor([1, 2, 3, 4], [1, 4]), { ...options, levels: wrong })).toThrow(ShapeError)
})
