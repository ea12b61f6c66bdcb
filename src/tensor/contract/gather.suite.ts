import { expect } from 'vitest'
import { dtypes } from '../dtype.ts'
import { OptionError, ShapeError } from '../errors.ts'
import * as pare from '../index.ts'
import { arange, type Tensor, tensor, zeros } from '../index.ts'
import {
  type Claim,
  computing,
  exact,
  exactTensor,
  expectNear,
  expectShape,
  valuesOf,
} from './claims.suite.ts'

const ids = (...values: number[]) => tensor(values, [values.length], 'u32')

export function gatherClaims(claim: Claim): void {
  claim('split and unstack take apart what concat and stack join, without a copy', () => {
    const x = exactTensor([3, 5], 'f32')
    const parts = pare.split(x, [2, 0, 3])
    expect(parts.map(({ shape }) => shape)).toEqual([
      [3, 2],
      [3, 0],
      [3, 3],
    ])
    expect(pare.concat(parts, 1).bytes()).toEqual(x.bytes())
    expect(pare.stack(pare.unstack(x, 1), 1).bytes()).toEqual(x.bytes())
    for (const part of [...parts, ...pare.unstack(x)]) expect(part.memory).toBe(x.memory)
    expect(() => pare.split(x, [2, 2])).toThrow(/add up to 5/)
    expect(() => pare.split(x, [6, -1])).toThrow(/add up to 5/)
  })
  claim('place puts entries among zeros, where slice finds them', () => {
    const x = exactTensor([2, 3], 'f32')
    for (const options of [{ axis: 1, start: 1, step: 2 }, { axis: 1 }, { axis: 1, start: 4 }]) {
      const placed = pare.place(x, 7, options)
      const { axis, start = 0, step = 1 } = options as { axis: number; start?: number; step?: number }
      expect(placed.slice(axis, start, start + 2 * step + 1, step).bytes()).toEqual(x.bytes())
      expect(placed.abs().sum().item()).toBe(x.abs().sum().item())
    }
    expect(() => pare.place(x, 4, { axis: 1, step: 2 })).toThrow(/does not fit into 4/)
  })
  for (const dtype of dtypes) {
    claim(`${dtype}: picking, placing and joining move elements with their bits`, () => {
      const small = dtype === 'bool' ? [0, 1, 1, 0, 1, 0] : [0, 1, 2, 3, 4, 5]
      const x = tensor(small, [2, 3], dtype)
      const at = (...order: number[]) => order.map((i) => small[i])
      expect(valuesOf(x.indexSelect(0, ids(1, 1, 0)))).toEqual(at(3, 4, 5, 3, 4, 5, 0, 1, 2))
      expect(valuesOf(x.indexSelect(1, ids(2, 0)))).toEqual(at(2, 0, 5, 3))
      expect(valuesOf(x.gather(1, tensor([2, 2, 0, 1], [2, 2], 'u32')))).toEqual(at(2, 2, 3, 4))
      expect(valuesOf(x.gather(0, tensor([1, 0, 1], [1, 3], 'u32')))).toEqual(at(3, 1, 5))
      const placed = pare.scatter(x, 1, tensor([0, 2], [2, 1], 'u32'), x.slice(1, 1, 2))
      expect(valuesOf(placed)).toEqual(at(1, 1, 2, 3, 4, 4))
      expect(valuesOf(pare.concat([x, x.slice(1, 1, 2)], 1))).toEqual(at(0, 1, 2, 1, 3, 4, 5, 4))
      expect(valuesOf(pare.concat([x, x.slice(0, 1, 2)]))).toEqual(at(0, 1, 2, 3, 4, 5, 3, 4, 5))
      expect(valuesOf(pare.stack([x.select(0, 0), x.select(0, 1)], 1))).toEqual(at(0, 3, 1, 4, 2, 5))
      expect(valuesOf(x)).toEqual(small)
    })
  }
  claim('embedding takes ids of any shape', () => {
    const table = exactTensor([5, 3])
    const rows = pare.embedding(table, tensor([4, 0, 2, 2], [2, 2], 'u32'))
    expectShape(rows, [2, 2, 3])
    expectNear(rows.select(0, 1).select(0, 1), valuesOf(table.select(0, 2)), { units: 0 })
    expectShape(pare.embedding(table, zeros([0, 4], 'u32')), [0, 4, 3])
  })
  claim('views are picked from and joined like their copies', () => {
    const x = exactTensor([6, 4, 5])
    const view = x.transpose(0, 2).slice(1, 1, 4, 2) // [5, 2, 6]
    const same = (f: (x: Tensor) => Tensor) =>
      expectNear(f(view), valuesOf(f(view.contiguous())), { units: 0 })
    same((v) => v.indexSelect(0, ids(4, 0, 4)))
    same((v) => v.indexSelect(2, ids(5, 1)))
    same((v) => v.gather(0, arange(24).reshape([2, 2, 6]).cast('i32').cast('f32').div(5).floor().cast('u32')))
    same((v) => pare.concat([v, x.slice(2, 0, 1).expand([6, 4, 6]).slice(1, 0, 2)], 0))
    same((v) => v.sort().values)
    same((v) => v.topK(3, { axis: 0 }).indices.cast('f32'))
    const index = tensor([1, 0], [1, 2], 'u32').expand([3, 2])
    const gathered = exactTensor([3, 4]).gather(1, index)
    expectNear(gathered, valuesOf(exactTensor([3, 4]).gather(1, index.contiguous())), { units: 0 })
  })
  for (const dtype of computing) {
    claim(`${dtype}: scatter adds in the order of the source, and sets with the last of equals`, () => {
      const index = tensor([0, 2, 0, 0], [4], 'u32')
      const source = tensor([1, 2, 4, 8], [4], dtype)
      expectNear(
        pare.scatter(tensor([0.5, 0.5, 0.5], [3], dtype), 0, index, source, { mode: 'add' }),
        [13.5, 0.5, 2.5],
      )
      expectNear(pare.scatter(zeros([3], dtype), 0, index, source), [8, 0, 2])
      // In this order 1 is lost beside 2^60 but 3 is not: any other order of sums gives another result.
      const huge = tensor([2 ** 60, 1, -(2 ** 60), 3], [4], dtype)
      expectNear(pare.scatter(zeros([1], dtype), 0, ids(0, 0, 0, 0), huge, { mode: 'add' }), [3])
      const rows = pare.scatter(
        zeros([2, 2], dtype),
        0,
        tensor([1, 0, 1, 1], [2, 2], 'u32'),
        source.reshape([2, 2]),
        {
          mode: 'add',
        },
      )
      expectNear(rows, [0, 2, 5, 8])
    })
    claim(`${dtype}: sort is stable, puts NaN last in both directions, and argsort says where from`, () => {
      const x = tensor([3, NaN, -Infinity, 3, 1, Infinity, NaN, 1], [8], dtype)
      const up = x.sort()
      expectNear(up.values, [-Infinity, 1, 1, 3, 3, Infinity, NaN, NaN])
      expect(valuesOf(up.indices)).toEqual([2, 4, 7, 0, 3, 5, 1, 6])
      const down = x.sort({ descending: true })
      expectNear(down.values, [Infinity, 3, 3, 1, 1, -Infinity, NaN, NaN])
      expect(valuesOf(down.indices)).toEqual([5, 0, 3, 4, 7, 2, 1, 6])
      expect(valuesOf(pare.argsort(x))).toEqual(valuesOf(up.indices))
      const long = exactTensor([3, 2049], dtype)
      const sorted = long.sort()
      expectNear(
        sorted.values.select(0, 1),
        [...valuesOf(long.select(0, 1))].sort((a, b) => a - b),
        { units: 0 },
      )
      expectNear(long.gather(1, sorted.indices), valuesOf(sorted.values), { units: 0 })
      expectNear(long.transpose().sort({ axis: 0 }).values, valuesOf(sorted.values.transpose()), { units: 0 })
    })
    claim(`${dtype}: topK is the head of a sort, the lowest index on ties, NaN the largest`, () => {
      const x = tensor([3, NaN, 5, 3, 5, 1], [6], dtype)
      const top = x.topK(4)
      expectNear(top.values, [NaN, 5, 5, 3])
      expect(valuesOf(top.indices)).toEqual([1, 2, 4, 0])
      const low = x.topK(6, { largest: false })
      expectNear(low.values, [1, 3, 3, 5, 5, NaN])
      expect(valuesOf(low.indices)).toEqual([5, 0, 3, 2, 4, 1])
      const long = exactTensor([4, 1001], dtype)
      for (const k of [0, 1, 10, 1000]) {
        const sorted = long.sort({ descending: true })
        expectNear(long.topK(k).values, valuesOf(sorted.values.slice(1, 0, k)), { units: 0 })
        expect(valuesOf(long.topK(k).indices)).toEqual(valuesOf(sorted.indices.slice(1, 0, k)))
      }
    })
  }
  claim('empty tensors are picked from, sorted and joined', () => {
    expectShape(zeros([3, 0]).indexSelect(0, ids(2, 1)), [2, 0])
    expectShape(zeros([3, 2]).indexSelect(0, zeros([0], 'u32')), [0, 2])
    expectShape(zeros([0, 2]).gather(1, zeros([0, 5], 'u32')), [0, 5])
    expectNear(pare.scatter(zeros([2]), 0, zeros([0], 'u32'), zeros([0])), [0, 0])
    expectShape(zeros([2, 0]).sort().values, [2, 0])
    expectShape(zeros([0, 4]).topK(2).values, [0, 2])
    expectNear(pare.concat([zeros([0, 2]), tensor([1, 2], [1, 2])]), [1, 2])
  })
  claim('indices out of range are refused before anything is read', () => {
    const x = tensor(exact(6), [2, 3])
    expect(() => x.indexSelect(0, ids(2))).toThrow(ShapeError)
    expect(() => x.gather(1, tensor([3, 0], [2, 1], 'u32'))).toThrow(ShapeError)
    expect(() => pare.scatter(x, 1, tensor([0, 2 ** 32 - 1], [2, 1], 'u32'), zeros([2, 1]))).toThrow(
      ShapeError,
    )
    expect(() => pare.embedding(x, ids(7))).toThrow(ShapeError)
    expect(() => zeros([0, 3]).indexSelect(0, ids(0))).toThrow(ShapeError)
    expect(() => x.topK(4)).toThrow(OptionError)
  })
  claim('indices and parts that do not fit are refused', () => {
    const x = zeros([2, 3])
    expect(() => x.gather(1, zeros([2, 1], 'i32'))).toThrow(/must be u32/)
    expect(() => x.gather(1, zeros([1, 1], 'u32'))).toThrow(/only along axis 1/)
    expect(() => pare.concat([x, zeros([3, 2])])).toThrow(/may differ only along axis 0/)
    expect(() => pare.concat([x, zeros([2, 3], 'f64')])).toThrow(/one number type/)
    expect(() => pare.stack([x, zeros([3])])).toThrow(/one shape/)
    expect(() => pare.scatter(x, 0, zeros([1, 3], 'u32'), zeros([2, 3]))).toThrow(/must have one shape/)
  })
}
