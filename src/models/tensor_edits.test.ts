import { describe, expect, test } from 'vitest'
import { hadamardMatrix } from '../nn/hadamard.ts'
import { signsOf } from '../nn/rotation.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { tensor } from '../tensor/index.ts'
import { applyEdits, editsOfRows, type TensorEdit } from './tensor_edits.ts'

const matrix = (values: number[], columns: number, dtype: 'f32' | 'f64' = 'f32') =>
  tensor(values, [values.length / columns, columns], dtype)
const edited = (values: number[], columns: number, ...edits: TensorEdit[]) =>
  Array.from(applyEdits(matrix(values, columns), edits).toArray(), Number)

describe('edits', () => {
  test('scale rows and columns', () => {
    const by = Float64Array.of(2, -0.5)
    expect(edited([1, 2, 3, 4], 2, { kind: 'scaleRows', by })).toEqual([2, 4, -1.5, -2])
    expect(edited([1, 2, 3, 4], 2, { kind: 'scaleColumns', by })).toEqual([2, -1, 6, -2])
  })
  test('scale and fill vectors', () => {
    const by = Float64Array.of(2, 4, 0.25)
    expect([...applyEdits(tensor([1, 2, 3]), [{ kind: 'scaleRows', by }]).toArray()]).toEqual([2, 8, 0.75])
    expect([...applyEdits(tensor([1, 2, 3]), [{ kind: 'fill', value: 1 }]).toArray()]).toEqual([1, 1, 1])
  })
  test('clamp each group of a row, of which the last may be short', () => {
    const bounds = Float32Array.of(1, 2, 10, 0.5)
    expect(edited([3, -3, 3, 3, -3, -3], 3, { kind: 'clamp', bounds, groupSize: 2 })).toEqual([
      1, -1, 2, 3, -3, -0.5,
    ])
  })
  test('are done in their order, in f64', () => {
    const third = Float64Array.of(1 / 3, 1 / 3)
    const three = Float64Array.of(3, 3)
    const twice: TensorEdit[] = [
      { kind: 'scaleRows', by: third },
      { kind: 'scaleColumns', by: three },
    ]
    expect(edited([0.1, 0.7, 1.3, 5], 2, ...twice)).toEqual([0.1, 0.7, 1.3, 5].map(Math.fround))
  })
  test('rotate columns by W Q and rows by Q^T W, as dense products do', () => {
    const rotation = { size: 4, seed: 2 }
    const signs = signsOf(rotation)
    const h = hadamardMatrix(4)
    const q = (i: number, j: number) => (signs[i]! * h[4 * i + j]!) / 2
    const w = Array.from({ length: 16 }, (_, i) => ((i * 7) % 5) - 2)
    const product = (at: (i: number, k: number, j: number) => number) =>
      Array.from({ length: 16 }, (_, place) =>
        [0, 1, 2, 3].reduce((sum, k) => sum + at(place >> 2, k, place & 3), 0),
      )
    expect(edited(w, 4, { kind: 'rotateColumns', rotation })).toEqual(
      product((i, k, j) => w[4 * i + k]! * q(k, j)),
    )
    expect(edited(w, 4, { kind: 'rotateRows', rotation })).toEqual(
      product((i, k, j) => q(k, i) * w[4 * k + j]!),
    )
  })
  test('a rotation that is smaller than the side turns each run of columns for itself', () => {
    const rotation = { size: 2, seed: 0 }
    const whole = edited([1, 2, 3, 4], 4, { kind: 'rotateColumns', rotation })
    const parts = [
      [1, 2],
      [3, 4],
    ].flatMap((part) => edited(part, 2, { kind: 'rotateColumns', rotation }))
    expect(whole).toEqual(parts)
  })
})

test('edits that do not fit are refused before anything is computed', () => {
  const wrong: TensorEdit[] = [
    { kind: 'scaleRows', by: Float64Array.of(1) },
    { kind: 'scaleColumns', by: Float64Array.of(1, 2, 3) },
    { kind: 'rotateRows', rotation: { size: 4, seed: 0 } },
    { kind: 'rotateColumns', rotation: { size: 4, seed: 0 } },
    { kind: 'clamp', bounds: Float32Array.of(1), groupSize: 1 },
    { kind: 'clamp', bounds: Float32Array.of(1, 1), groupSize: 0 },
  ]
  for (const edit of wrong) expect(() => edited([1, 2, 3, 4], 2, edit)).toThrow(OptionError)
  for (const edit of wrong.filter(({ kind }) => kind !== 'scaleRows' && kind !== 'rotateRows'))
    expect(() => applyEdits(tensor([1, 2]), [edit])).toThrow(OptionError)
})

test('numbers that f32 does not hold are refused', () => {
  for (const factor of [1e39, Number.NaN])
    expect(() => edited([1, 1], 2, { kind: 'scaleRows', by: Float64Array.of(factor) })).toThrow(
      NumericalError,
    )
})

test('edits of some rows give the rows of the whole', () => {
  const edits: TensorEdit[] = [
    { kind: 'scaleRows', by: Float64Array.of(1, 2, 3) },
    { kind: 'rotateColumns', rotation: { size: 4, seed: 1 } },
    { kind: 'clamp', bounds: Float32Array.from([1, 2, 3, 4, 0.5, 1]), groupSize: 2 },
  ]
  const w = matrix([1, 2, 3, 4, -4, 3, 2, 1, 5, 6, -7, 8], 4)
  const whole = Array.from(applyEdits(w, edits).toArray(), Number)
  const ids = Uint32Array.of(2, 0)
  const some = applyEdits(matrix([5, 6, -7, 8, 1, 2, 3, 4], 4), editsOfRows(edits, ids, 4)!)
  expect(Array.from(some.toArray(), Number)).toEqual([...whole.slice(8), ...whole.slice(0, 4)])
  expect(editsOfRows([{ kind: 'rotateRows', rotation: { size: 1, seed: 0 } }], ids, 4)).toBeUndefined()
})
