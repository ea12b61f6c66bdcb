import { expect, test } from 'vitest'
import { FormatError, OptionError } from '../tensor/errors.ts'
import { State, scope, type Tensor, tensor, valueAndGrad } from '../tensor/index.ts'
import { numbers } from './llama/fixtures.suite.ts'
import { memoryWeights } from './memory_weights.ts'

const table = (dtype: 'f32' | 'f64' | 'bf16' = 'f32') => tensor([1, 2, 3, 4, 5, 6], [3, 2], dtype)

test('a weight is the very tensor that was given, alive after the scope that loaded it and after close', () => {
  scope(() => {
    const w = table()
    const weights = memoryWeights(new Map([['w', w]]))
    expect(scope(() => weights.load('w')) === w).toBe(true)
    weights.close()
    expect(numbers(w)).toEqual([1, 2, 3, 4, 5, 6])
  })
})
test('rows come in the order of the ids, slices in the order of the weight', () => {
  scope(() => {
    const weights = memoryWeights(new Map([['w', table()]]))
    const rows = weights.rows('w', Uint32Array.of(2, 0, 2))
    expect([rows.shape, numbers(rows)]).toEqual([
      [3, 2],
      [5, 6, 1, 2, 5, 6],
    ])
    expect(numbers(weights.slice('w', 1, 3))).toEqual([3, 4, 5, 6])
  })
})
test('gradients of rows, slices and whole weights reach the tensor', () => {
  scope(() => {
    const gradientOf = (loss: (weights: ReturnType<typeof memoryWeights>) => Tensor) => {
      const parameters = new Map([['w', table('f64')]])
      return numbers(valueAndGrad((p) => loss(memoryWeights(p)), parameters).gradients.get('w')!)
    }
    expect(gradientOf((w) => w.rows('w', Uint32Array.of(2, 0, 2)).sum())).toEqual([1, 1, 0, 0, 2, 2])
    expect(gradientOf((w) => w.slice('w', 1, 3).sum())).toEqual([0, 0, 1, 1, 1, 1])
    expect(gradientOf((w) => w.load('w').square().sum())).toEqual([2, 4, 6, 8, 10, 12])
  })
})
test('what changes in a state shows in the weight', () => {
  const state = new State('w', [3, 2])
  scope(() => {
    const weights = memoryWeights(new Map([['w', state.tensor()]]))
    state.load(table().bytes())
    expect(numbers(weights.load('w'))).toEqual([1, 2, 3, 4, 5, 6])
  })
  state.dispose()
})
test('infos give shape, type and bytes of each weight, and their sum', () => {
  scope(() => {
    const weights = memoryWeights(
      new Map([
        ['w', table('bf16')],
        ['v', tensor([1], [1], 'bf16')],
      ]),
    )
    expect(weights.infos.get('w')).toEqual({ name: 'w', shape: [3, 2], type: 'BF16', bytes: 12 })
    expect([weights.fileBytes, weights.dtype]).toEqual([14, 'bf16'])
  })
})
test('no weights, two types, an unknown name and a row past the last are refused by name', () => {
  scope(() => {
    expect(() => memoryWeights(new Map())).toThrow(OptionError)
    const mixed = new Map([
      ['w', table()],
      ['v', table('f64')],
    ])
    expect(() => memoryWeights(mixed)).toThrow(/^v: .*f64 beside f32 of w/)
    const weights = memoryWeights(new Map([['w', table()]]))
    expect(() => weights.load('u')).toThrow(FormatError)
    expect(() => weights.rows('w', Uint32Array.of(3))).toThrow(/^w: row 3 is past the last of 3/)
    expect(() => weights.slice('w', 2, 4)).toThrow(/^w: row 3 is past the last of 3/)
  })
})
