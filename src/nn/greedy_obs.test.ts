import { describe, expect, test } from 'vitest'
import { cholesky, choleskyInverse, randomStream, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { oracleGroups, oracleQuantize, oracleTrace } from './greedy_obs.oracle.suite.ts'
import { obsGroups, obsQuantize, obsRows, obsTrace } from './greedy_obs.ts'
import { close, gridOf, numbers, problemOf, rowOf } from './greedy_obs_problem.suite.ts'

describe('the kernel and plain loops agree', () => {
  // Past 32 removals the kernel moves the matrix, and past a twelfth it leaves out what is gone.
  const layer = problemOf({ rows: 5, columns: 90, tokens: 500, seed: 4 })
  const inverse = numbers(layer.inverse)

  test.each([1, 4, 7])('removing blocks of %i columns, in order, loss and weight', (width) => {
    const trace = obsTrace(layer, width)!
    const counts = [1, trace.units >> 1, trace.units - 1]
    const rows = numbers(
      obsRows(
        layer,
        trace,
        counts.map((count) => new Uint32Array(5).fill(count)),
      )!,
    )
    for (let row = 0; row < 5; row++) {
      const want = oracleTrace(rowOf(layer.weight, row), inverse, width)
      expect([...trace.order.slice(row * trace.units, (row + 1) * trace.units)]).toEqual(want.order)
      for (const [step, loss] of want.losses.entries())
        expect(Math.abs(trace.losses[row * trace.units + step]! / loss - 1)).toBeLessThan(1e-8)
      for (const [level, count] of counts.entries())
        close(rows.slice((level * 5 + row) * 90, (level * 5 + row + 1) * 90), want.rows[count]!)
    }
  })
  test.each([
    [2, 1],
    [6, 4],
    [9, 3],
  ])('in groups of %i, of which %i go', (m, zeros) => {
    const found = obsGroups(layer, m, zeros)!
    for (let row = 0; row < 5; row++) {
      const want = oracleGroups(rowOf(layer.weight, row), inverse, m, zeros)
      expect([...found.kept.slice(row * 90, row * 90 + 90)]).toEqual(want.live.map(Number))
      close(rowOf(found.dense, row), want.weight)
    }
  })
  test.each([
    [2, 0.1, 1],
    [4, 0.03, 7],
  ])('rounding to %i bits with steps of %f', (bits, scale, zero) => {
    const mask = Uint8Array.from(
      randomStream(1, 'mask')
        .uniform([5 * 90])
        .toArray() as Float32Array,
      (x) => Number(x < 0.6),
    )
    for (const kept of [undefined, mask]) {
      const found = obsQuantize({ ...layer, mask: kept }, gridOf(5, 90, { bits, scale, zero }))!
      for (let row = 0; row < 5; row++) {
        const own = kept?.subarray(row * 90, row * 90 + 90)
        const want = oracleQuantize(rowOf(layer.weight, row), inverse, {
          bits,
          scale,
          zero,
          ...(own && { mask: own }),
        })
        expect([...(found.codes.toArray() as Uint8Array).slice(row * 90, row * 90 + 90)]).toEqual([
          ...want.codes,
        ])
        expect(Math.abs(found.losses[row]! / want.loss - 1)).toBeLessThan(1e-8)
      }
    }
  })
})

describe('what was removed before', () => {
  const layer = problemOf({ rows: 4, columns: 24, tokens: 300, seed: 5 })
  const mask = Uint8Array.from({ length: 96 }, (_, i) => Number(i % 5 > 1))
  const weight = tensor(
    numbers(layer.weight).map((x, i) => (mask[i] ? x : 0)),
    [4, 24],
    'f64',
  )

  test('stays exactly 0, costs nothing and comes first', () => {
    const trace = obsTrace({ ...layer, weight, mask })!
    for (let row = 0; row < 4; row++) {
      const gone = Array.from({ length: 24 }, (_, i) => i).filter((i) => !mask[row * 24 + i])
      expect([...trace.order.slice(row * 24, row * 24 + gone.length)]).toEqual(gone)
      expect([...trace.losses.slice(row * 24, row * 24 + gone.length)]).toEqual(gone.map(() => 0))
    }
    const none = numbers(obsRows({ ...layer, weight, mask }, trace, [new Uint32Array(4)])!)
    expect([...none]).toEqual([...numbers(weight)])
  })
  test('takes no part in the next steps: they are those of the Hessian of what is left', () => {
    const trace = obsTrace({ ...layer, weight, mask })!
    const kept = Array.from({ length: 24 }, (_, i) => i).filter((i) => mask[i])
    const part = tensor(
      kept.flatMap((p) => kept.map((q) => numbers(layer.hessian)[p * 24 + q]!)),
      [kept.length, kept.length],
      'f64',
    )
    const own = tensor(
      kept.map((p) => numbers(weight)[p]!),
      [1, kept.length],
      'f64',
    )
    const alone = obsTrace({ weight: own, inverse: choleskyInverse(cholesky(part)) })!
    expect([...trace.order.slice(24 - kept.length, 24)]).toEqual([...alone.order].map((p) => kept[p]))
  })
  test('counts in its group', () => {
    const { kept } = obsGroups({ ...layer, weight, mask }, 4, 2)!
    for (let group = 0; group < 96; group += 4) {
      const before = mask.slice(group, group + 4).reduce((sum, bit) => sum + bit, 0)
      expect(kept.slice(group, group + 4).reduce((sum, bit) => sum + bit, 0)).toBe(Math.min(before, 2))
    }
  })
})

describe('refusals', () => {
  const { weight, inverse } = problemOf({ rows: 2, columns: 8, tokens: 100 })
  test('shapes that do not fit', () => {
    expect(() => obsTrace({ weight, inverse: weight })).toThrow(/do not fit/)
    expect(() => obsTrace({ weight, inverse, mask: new Uint8Array(3) })).toThrow(/do not fit/)
    expect(() => obsTrace({ weight, inverse }, 0)).toThrow(/1 to 64 columns/)
    expect(() => obsTrace({ weight, inverse }, 65)).toThrow(/1 to 64 columns/)
    expect(() => obsGroups({ weight, inverse }, 3, 1)).toThrow(/do not fit/)
    const trace = obsTrace({ weight, inverse })!
    expect(() => obsRows({ weight, inverse }, trace, [Uint32Array.of(9, 0)])).toThrow(/do not fit/)
    const order = Uint32Array.from({ length: 8 }, () => 1)
    expect(() =>
      obsQuantize({ weight, inverse }, { ...gridOf(2, 8, { bits: 2, scale: 1, zero: 1 }), order }),
    ).toThrow(/grid/)
    expect(() => obsQuantize({ weight, inverse }, gridOf(2, 8, { bits: 2, scale: 1, zero: 4 }))).toThrow(
      /grid/,
    )
    expect(() => obsQuantize({ weight, inverse }, gridOf(2, 8, { bits: 2, scale: 0, zero: 0 }))).toThrow(
      /grid/,
    )
  })
  test('an inverse without a positive diagonal gives nothing', () => {
    const negative = inverse.mul(-1)
    expect(obsTrace({ weight, inverse: negative })).toBeUndefined()
    expect(obsTrace({ weight, inverse: negative }, 4)).toBeUndefined()
    expect(obsGroups({ weight, inverse: negative }, 4, 2)).toBeUndefined()
    expect(
      obsQuantize({ weight, inverse: negative }, gridOf(2, 8, { bits: 2, scale: 1, zero: 1 })),
    ).toBeUndefined()
  })
  test('a stop ends the work', () => {
    callNative((native) => native.setAborted(true))
    try {
      expect(() => obsTrace({ weight, inverse })).toThrow(expect.objectContaining({ code: 'PARE_E_ABORTED' }))
    } finally {
      callNative((native) => native.setAborted(false))
    }
  })
})
