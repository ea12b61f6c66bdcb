import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { spread } from './distribution.ts'

const shapes = new Map([
  ['a', [2, 4]],
  ['b', [3, 6]],
  ['c', [2, 4, 6]],
])
const near = (...values: number[]) => values.map((value) => expect.closeTo(value, 4))
const erk = (sparsity: number, options: object = {}) => [
  ...spread(sparsity, shapes, { kind: 'erk', ...options }).values(),
]

test('ERK oracle: shapes (2,4), (3,6), (2,4,6)', () => {
  expect(erk(0.5)).toEqual(near(0, 0.3095, 0.6548))
  expect(erk(0.8)).toEqual(near(0.5556, 0.7037, 0.8519))
  expect(erk(0.5, { power: 2 })).toEqual(near(0, 0.0333, 0.7583))
  expect(erk(0.5, { kernel: false, channels: [-2, -1] })).toEqual(near(0.2071, 0.4714, 0.5595))
})
test('ERK keeps the count of ones of all layers together', () => {
  const layers = new Map([
    ['conv', [16, 3, 3, 8]],
    ['up', [64, 32]],
    ['down', [10, 64]],
  ])
  for (const sparsity of [0.5, 0.8, 0.95]) {
    const sizes = [1152, 2048, 640]
    const kept = [...spread(sparsity, layers, { kind: 'erk' }).values()].map((s, i) => sizes[i]! * (1 - s))
    const wanted = sizes.reduce((sum, size) => sum + size - Math.floor(sparsity * size), 0)
    expect(kept.reduce((a, b) => a + b)).toBeCloseTo(wanted, 8)
  }
})
test('uniform gives every parameter with two axes the same, and others none', () => {
  const all = new Map([...shapes, ['bias', [4]], ['norm', [8]]])
  expect(spread(0.8, all)).toEqual(
    new Map([
      ['a', 0.8],
      ['b', 0.8],
      ['c', 0.8],
    ]),
  )
})
test('patterns choose, except and give sparsities of their own, which ERK leaves out of its sums', () => {
  const options = { except: 'b', custom: [{ match: 'c', sparsity: 0.25 }] }
  expect(spread(0.5, shapes, { kind: 'uniform', ...options })).toEqual(
    new Map([
      ['a', 0.5],
      ['c', 0.25],
    ]),
  )
  expect(erk(0.5, { custom: [{ match: 'c', sparsity: 0.25 }] })).toEqual(
    [...spread(0.5, new Map([...shapes].slice(0, 2)), { kind: 'erk' }).values()].concat(0.25),
  )
  expect([
    ...spread(0.5, shapes, { kind: 'uniform', custom: [{ match: 'a', sparsity: null }] }).keys(),
  ]).toEqual(['b', 'c'])
  const named = { kind: 'uniform', match: ['a', 'bias'], axes: 1 } as const
  expect([...spread(0.5, new Map([...shapes, ['bias', [4]]]), named).keys()]).toEqual(['a', 'bias'])
})
test('what takes nothing, or is out of its range, is refused', () => {
  const wrong: [number, object][] = [
    [1, {}],
    [-0.1, {}],
    [0.5, { match: 'z' }],
    [0.5, { except: 'z' }],
    [0.5, { axes: 4 }],
    [0.5, { axes: -1 }],
    [0.5, { custom: [{ match: 'a', sparsity: 1 }] }],
    [0.5, { kind: 'erk', power: -1 }],
  ]
  for (const [sparsity, options] of wrong)
    expect(() => spread(sparsity, shapes, { kind: 'uniform', ...options } as never)).toThrow(OptionError)
})
