import { expect, test } from 'vitest'
import { currentKernels, scope, tensor } from '../tensor/index.ts'
import { numbers } from './llama/fixtures.suite.ts'
import type { ModelWeights } from './model_weights.ts'
import { weightsIn } from './weights_in.ts'

// bf16 is 2^-7 apart from 1 to 2, and 2^-6 from 2 to 4.
const values = [1, 1 + 2 ** -8, 1 + 2 ** -8 + 2 ** -9, -Math.fround(Math.PI)]
const nearest = [1, 1, 1 + 2 ** -7, -201 * 2 ** -6]

const stored = (extra: Partial<ModelWeights> = {}): ModelWeights => ({
  infos: new Map([['w', { name: 'w', shape: [2, 2], type: 'F32', bytes: 16 }]]),
  fileBytes: 99,
  load: () => tensor(values, [2, 2]),
  rows: (_, ids) => tensor(Array.from(ids, (id) => values.slice(2 * id, 2 * id + 2)).flat(), [ids.length, 2]),
  slice: (_, start, end) => tensor(values.slice(2 * start, 2 * end), [end - start, 2]),
  close: () => {},
  ...extra,
})

test('bf16: whole weights and rows are rounded to nearest, ties to even', () => {
  const weights = weightsIn('bf16', stored())
  const [whole, rows] = [weights.load('w'), weights.rows('w', Uint32Array.of(1, 0))]
  expect([whole.dtype, whole.shape, rows.dtype, rows.shape]).toEqual(['bf16', [2, 2], 'bf16', [2, 2]])
  expect(numbers(whole)).toEqual(nearest)
  expect(numbers(rows)).toEqual([nearest[2], nearest[3], nearest[0], nearest[1]])
  const slice = weights.slice('w', 1, 2)
  expect([slice.dtype, numbers(slice)]).toEqual(['bf16', nearest.slice(2)])
})
test('f64: every value is kept', () => {
  const whole = weightsIn('f64', stored()).load('w')
  expect(whole.dtype).toBe('f64')
  expect(numbers(whole)).toEqual(values)
})
test('the f32 weight is freed once it is converted', () => {
  scope(() => {
    const weights = weightsIn('bf16', stored())
    const before = currentKernels().memory().tensors
    weights.load('w')
    expect(currentKernels().memory().tensors).toBe(before + 1)
    weights.rows('w', Uint32Array.of(0))
    expect(currentKernels().memory().tensors).toBe(before + 2)
  })
})
test('what is said of the file is what the file is, not what it is read as', () => {
  const source = stored()
  const { infos, fileBytes } = weightsIn('bf16', source)
  expect([infos, fileBytes]).toEqual([source.infos, 99])
})
test('bytes are given where the store gives them', () => {
  const raw = (name: string) => new TextEncoder().encode(name)
  expect(weightsIn('bf16', stored({ raw })).raw!('w')).toEqual(Uint8Array.of(119))
  expect(weightsIn('bf16', stored())).not.toHaveProperty('raw')
})
test('closing closes the store', () => {
  let closed = 0
  weightsIn('bf16', stored({ close: () => void closed++ })).close()
  expect(closed).toBe(1)
})
