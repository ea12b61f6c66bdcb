import { expect } from 'vitest'
import { ShapeError } from '../errors.ts'
import * as pare from '../index.ts'
import { full, type Tensor, tensor, zeros } from '../index.ts'
import { type Claim, computing, exactTensor, expectNear, expectShape, valuesOf } from './claims.suite.ts'

/** Brute force: the values of a 3-axis tensor grouped by what is kept, each group in row-major order. */
function groups(x: Tensor, axes: readonly number[]): number[][] {
  const [, b, c] = x.shape as [number, number, number]
  const found = new Map<string, number[]>()
  valuesOf(x).forEach((value, i) => {
    const at = [Math.floor(i / (b * c)), Math.floor(i / c) % b, i % c]
    const key = at.filter((_, axis) => !axes.includes(axis)).join()
    found.set(key, [...(found.get(key) ?? []), value])
  })
  return [...found.values()]
}
const total = (row: number[]) => row.reduce((a, b) => a + b, 0)
const product = (row: number[]) => row.reduce((a, b) => a * b, 1)
const best = (row: number[], pick: (...values: number[]) => number) => row.indexOf(pick(...row))

export function reduceClaims(claim: Claim): void {
  for (const dtype of computing) {
    for (const axes of [[2], [0], [1], [0, 2], [1, 2], [0, 1, 2]]) {
      claim(`${dtype}: reductions over axes [${axes}] agree with brute force`, () => {
        const x = exactTensor([3, 5, 33], dtype)
        const rows = groups(x, axes)
        const near = (found: Tensor, rule: (row: number[]) => number, units: number) =>
          expectNear(found, rows.map(rule), { units, scale: 2 })
        // A sum of n values below 2 in any order is within n roundings of n * 2; bf16 rounds once more.
        const count = rows[0]!.length
        near(x.sum(axes), total, dtype === 'bf16' ? 2 : count)
        near(x.mean(axes), (row) => total(row) / count, dtype === 'bf16' ? 2 : count)
        near(x.max(axes), (row) => Math.max(...row), 0)
        near(x.min(axes), (row) => Math.min(...row), 0)
        near(x.logsumexp(axes), (row) => Math.log(total(row.map(Math.exp))), dtype === 'bf16' ? 2 : 16)
        const flags = x.greater(1.25)
        const near1 = (found: Tensor, rule: (row: number[]) => boolean) =>
          expect(valuesOf(found)).toEqual(rows.map((row) => Number(rule(row))))
        near1(flags.any(axes), (row) => row.some((v) => v > 1.25))
        near1(flags.all(axes), (row) => row.every((v) => v > 1.25))
        const y = x.slice(2, 0, 2).abs().add(0.5)
        expectNear(y.prod(axes), groups(y, axes).map(product), { units: 64 })
      })
    }
    claim(`${dtype}: argmax and argmin name the lowest index, and the first NaN wins`, () => {
      const x = exactTensor([3, 5, 33], dtype)
      expect(valuesOf(x.argmax(1))).toEqual(groups(x, [1]).map((row) => best(row, Math.max)))
      expect(valuesOf(x.argmin(-1))).toEqual(groups(x, [2]).map((row) => best(row, Math.min)))
      expect(x.argmax().item()).toBe(best(valuesOf(x), Math.max))
      expect(x.argmax().dtype).toBe('u32')
      const ties = tensor([1, 7, 7, -2, -2, 0, 7], [7], dtype)
      expect([ties.argmax().item(), ties.argmin().item()]).toEqual([1, 3])
      const nan = tensor([1, NaN, 9, NaN], [4], dtype)
      expect([nan.argmax().item(), nan.argmin().item()]).toEqual([1, 1])
      expect(full([4], -Infinity, dtype).argmax().item()).toBe(0)
    })
    claim(`${dtype}: a NaN wins sums, maxima and minima; infinities add up`, () => {
      const x = tensor([1, NaN, 2, 1, Infinity, 2, Infinity, 0, -Infinity], [3, 3], dtype)
      expectNear(x.sum(1), [NaN, Infinity, NaN])
      expectNear(x.max(1), [NaN, Infinity, Infinity])
      expectNear(x.min(1), [NaN, 1, -Infinity])
      expectNear(x.logsumexp(1), [NaN, Infinity, Infinity])
      expectNear(full([2, 2], -Infinity, dtype).logsumexp(1), [-Infinity, -Infinity])
    })
    claim(`${dtype}: long sums keep their digits`, () => {
      // 100,000 times 1/8: a sum that rounds to bf16 or counts in f32 one by one would stall or drift.
      expectNear(full([100_000], 0.125, dtype).sum(), [12_500], { units: dtype === 'bf16' ? 1 : 4 })
      expectNear(full([3, 40_001], 1.5, dtype).mean(1), [1.5, 1.5, 1.5], { units: 4 })
    })
    claim(`${dtype}: variance and norms follow their definitions`, () => {
      const x = exactTensor([3, 5, 33], dtype)
      const spread = (row: number[], correction: number) => {
        const mean = total(row) / row.length
        return total(row.map((v) => (v - mean) ** 2)) / (row.length - correction)
      }
      expectNear(
        x.variance(-1),
        groups(x, [2]).map((row) => spread(row, 1)),
        { units: 64 },
      )
      expectNear(
        x.variance([0, 2], { correction: 0 }),
        groups(x, [0, 2]).map((row) => spread(row, 0)),
        { units: 64 },
      )
      expectNear(
        x.norm(1),
        groups(x, [1]).map((row) => Math.hypot(...row)),
        { units: 16 },
      )
      expectNear(
        x.norm(1, { order: 1 }),
        groups(x, [1]).map((row) => total(row.map(Math.abs))),
        { units: 16 },
      )
      expectNear(
        x.norm(1, { order: Infinity }),
        groups(x, [1]).map((row) => Math.max(...row.map(Math.abs))),
      )
      expectNear(tensor([3, 4], [2], dtype).norm(), [5])
    })
  }
  claim('keepDims leaves an extent of 1, and views reduce like copies', () => {
    const x = exactTensor([4, 6, 5])
    expectShape(x.sum(1, { keepDims: true }), [4, 1, 5])
    expectShape(x.sum([0, -1], { keepDims: true }), [1, 6, 1])
    expectShape(x.sum(), [])
    expectShape(x.mean([]), [4, 6, 5])
    const view = x.transpose(0, 2).slice(1, 1, 6, 2)
    expectNear(view.sum(0), valuesOf(view.contiguous().sum(0)), { units: 0 })
    const wide = tensor([1, 2, 3], [3, 1]).expand([3, 1000])
    expectNear(wide.sum(1), [1000, 2000, 3000])
  })
  claim('reductions of nothing give the neutral element, or an error where there is none', () => {
    const empty = zeros([2, 0, 3])
    expect(valuesOf(empty.sum(1))).toEqual([0, 0, 0, 0, 0, 0])
    expect(valuesOf(empty.prod(1))).toEqual([1, 1, 1, 1, 1, 1])
    expect(valuesOf(empty.logsumexp([1, 2]))).toEqual([-Infinity, -Infinity])
    expect(valuesOf(zeros([0], 'bool').any())).toEqual([0])
    expect(valuesOf(zeros([0], 'bool').all())).toEqual([1])
    expectShape(empty.max(0), [0, 3])
    expect(() => empty.max(1)).toThrow(/max: the reduced axes of .* hold no values/)
    expect(() => empty.argmin()).toThrow(ShapeError)
    expect(() => zeros([0]).mean()).toThrow(ShapeError)
  })
  claim('axes that do not exist or stand twice are refused', () => {
    const x = zeros([2, 3])
    expect(() => x.sum(2)).toThrow(/axis 2 does not exist/)
    expect(() => x.sum([1, -1])).toThrow(/named twice/)
    expect(() => pare.any(x)).toThrow(/must be bool/)
    expect(() => zeros([2], 'i32').sum()).toThrow(/got i32; cast/)
  })
}
