import { describe, expect, test } from 'vitest'
import { fullLike, randomStream, scope, type Tensor, tensor, valueAndGrad } from '../tensor/index.ts'
import { clippedSource, clipToGrid, groupsOf } from './clipped_grid.ts'
import { columnSweep } from './column_sweep.ts'
import { type AffineGrid, type AffineValues, affineGrid, decodeValues, groupWidth } from './grid.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

/** The page's formulas, one group after the other, in f64. */
function byHand(w: Float64Array, [rows, columns]: [number, number], grid: AffineGrid, u: number, l: number) {
  const width = groupWidth(grid, columns)
  const top = 2 ** grid.bits - 1
  const codes: number[] = []
  for (let row = 0; row < rows; row++)
    for (let start = 0; start < columns; start += width) {
      const group = w.subarray(row * columns + start, row * columns + Math.min(columns, start + width))
      let high = sigmoid(u) * Math.max(0, ...group)
      let low = sigmoid(l) * Math.min(0, ...group)
      if (grid.symmetric) [high, low] = [Math.max(high, -low), -Math.max(high, -low)]
      const h = (high - low) / top
      const zero = grid.symmetric ? (top + 1) / 2 : -Math.round(low / h)
      for (const x of group) codes.push(Math.min(top, Math.max(0, Math.round(x / h) + zero)))
    }
  return codes
}

const weight = randomStream(3, 'weight').normal([6, 40], 'f64')

describe.each([
  ['groups', affineGrid({ bits: 3, groupSize: 8, scaleType: 'f32' })],
  ['a short last group', affineGrid({ bits: 2, groupSize: 16, scaleType: 'f32' })],
  ['rows', affineGrid({ bits: 4, groupSize: 'row', scaleType: 'f32' })],
  ['symmetric groups', affineGrid({ bits: 3, groupSize: 8, scaleType: 'f32', symmetric: true })],
] as const)('%s', (_, grid) => {
  const shape = [6, groupsOf(grid, 40)]
  const logits = (u: number, l: number) => ({
    upper: fullLike(tensor(new Float64Array(shape[0]! * shape[1]!), shape, 'f64'), u),
    lower: fullLike(tensor(new Float64Array(shape[0]! * shape[1]!), shape, 'f64'), l),
  })
  test('codes are those of the formulas, one group after the other', () => {
    for (const [u, l] of [
      [4, 4],
      [1, 0.2],
    ] as const) {
      const { values, dense } = clipToGrid(weight, grid, logits(u, l))
      expect(numbers(values.codes)).toEqual(byHand(weight.toArray() as Float64Array, [6, 40], grid, u, l))
      expect(numbers(decodeValues(values))).toEqual(numbers(dense.cast('f32')))
    }
  })
  test('ranges as wide as the weights round to nearest', () => {
    const { values } = clipToGrid(weight, grid, logits(40, 40))
    const nearest = columnSweep(weight, { grid }).values as AffineValues
    expect(numbers(values.codes)).toEqual(numbers(nearest.codes))
    expect(numbers(values.scales)).toEqual(numbers(nearest.scales))
  })
  test('gradients are those of a loop over the groups', () => {
    const { upper, lower } = logits(0.5, 1)
    const source = clippedSource(weight, grid, { upper, lower })
    const pull = randomStream(5, 'pull').normal([6, 40], 'f64')
    const parameters = new Map([
      ['upper', upper],
      ['lower', lower],
    ])
    const { gradients } = valueAndGrad(() => source.dense().mul(pull).sum(), parameters)
    const [w, g, q] = [weight, pull, source.dense()].map(numbers) as [number[], number[], number[]]
    const width = groupWidth(grid, 40)
    const groups = shape[1]!
    const want = { upper: new Float64Array(6 * groups), lower: new Float64Array(6 * groups) }
    const slope = (x: number) => sigmoid(x) * (1 - sigmoid(x))
    for (let at = 0; at < 6 * groups; at++) {
      const [row, group] = [Math.floor(at / groups), at % groups]
      const places = Array.from(
        { length: Math.min(width, 40 - group * width) },
        (_, i) => row * 40 + group * width + i,
      )
      const most = Math.max(0, ...places.map((i) => w[i]!))
      const least = Math.min(0, ...places.map((i) => w[i]!))
      const [high, low] = [sigmoid(0.5) * most, sigmoid(1) * least]
      for (const i of places) {
        if (grid.symmetric) {
          const bound = Math.max(high, -low)
          const moves = Math.abs(w[i]!) > bound ? q[i]! / bound : (q[i]! - w[i]!) / bound
          if (high >= -low) want.upper[at]! += g[i]! * moves * most * slope(0.5)
          else want.lower[at]! -= g[i]! * moves * least * slope(1)
        } else if (w[i]! > high) want.upper[at]! += g[i]! * most * slope(0.5)
        else if (w[i]! < low) want.lower[at]! += g[i]! * least * slope(1)
        else {
          const moves = (q[i]! - w[i]!) / (high - low)
          want.upper[at]! += g[i]! * moves * most * slope(0.5)
          want.lower[at]! -= g[i]! * moves * least * slope(1)
        }
      }
    }
    // 40 products in f64 of values near 1.
    for (const name of ['upper', 'lower'] as const)
      expect(numbers(gradients.get(name)!)).toEqual([...want[name]].map((x) => expect.closeTo(x, 12)))
  })
})

test('a clipped weight follows its own bound: the difference quotient of the sum of weights far outside', () => {
  const grid = affineGrid({ bits: 8, groupSize: 4, scaleType: 'f32' })
  const w = tensor(new Float64Array([1, 1, -1, -1]), [1, 4], 'f64')
  const at = (u: number) => tensor(new Float64Array([u]), [1, 1], 'f64')
  const sum = (u: number) =>
    scope(() =>
      clipToGrid(w, grid, { upper: at(u), lower: at(0) })
        .dense.sum()
        .item(),
    )
  const [upper, lower] = [at(0), at(0)]
  const source = clippedSource(w, grid, { upper, lower })
  const { gradients } = valueAndGrad(
    () => source.dense().sum(),
    new Map([
      ['upper', upper],
      ['lower', lower],
    ]),
  )
  // Both large weights move by sigmoid'(0) = 1/4; the quotient over 2 is coarse, as 8 bits have steps of 0.004.
  expect(gradients.get('upper')!.item()).toBeCloseTo(0.5, 12)
  expect((sum(1) - sum(-1)) / 2).toBeCloseTo(sigmoid(1) - sigmoid(-1), 1)
})
test('groups of zeros, and of weights of one sign, are rounded and have finite gradients', () => {
  for (const symmetric of [false, true]) {
    const grid = affineGrid({ bits: 3, groupSize: 4, symmetric })
    const w = tensor([0, 0, 0, 0, 1, 2, 3, 4, -1, -2, -3, -4], [1, 12])
    const [upper, lower] = [tensor([4, 4, 4], [1, 3]), tensor([4, 4, 4], [1, 3])]
    const source = clippedSource(w, grid, { upper, lower })
    const { gradients } = valueAndGrad(
      () => source.dense().square().sum(),
      new Map([
        ['upper', upper],
        ['lower', lower],
      ]),
    )
    for (const gradient of gradients.values()) expect(numbers(gradient).every(Number.isFinite)).toBe(true)
    expect(numbers(source.dense()).slice(0, 4)).toEqual([0, 0, 0, 0])
    expect(numbers(gradients.get('upper')!)[0]).toBe(0)
    // What the group has nothing of, no bound of it moves.
    expect(Math.abs(numbers(gradients.get('lower')!)[1]!)).toBe(0)
    expect(Math.abs(numbers(gradients.get('upper')!)[2]!)).toBe(0)
  }
})
