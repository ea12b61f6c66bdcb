import { expect } from 'vitest'
import { dtypes } from '../dtype.ts'
import { OptionError, ShapeError } from '../errors.ts'
import * as pare from '../index.ts'
import { full, type Tensor, tensor } from '../index.ts'
import {
  type Claim,
  computing,
  exact,
  exactTensor,
  expectNear,
  expectShape,
  valuesOf,
} from './claims.suite.ts'

/** Abramowitz and Stegun, table 7.1, with more digits from their series. */
const erfTable: [number, number][] = [
  [0, 0],
  [0.25, 0.27632639016823696],
  [0.5, 0.5204998778130465],
  [1, 0.8427007929497149],
  [2, 0.9953222650189527],
  [-1, -0.8427007929497149],
]
const logistic = (x: number) => 1 / (1 + Math.exp(-x))
const evenRound = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x))

type Rule = [run: (x: Tensor) => Tensor, want: (x: number) => number, positive?: boolean]
const rules: Record<string, Rule> = {
  neg: [pare.neg, (x) => -x],
  abs: [pare.abs, Math.abs],
  sign: [pare.sign, Math.sign],
  exp: [pare.exp, Math.exp],
  expm1: [pare.expm1, Math.expm1],
  log: [pare.log, Math.log, true],
  log1p: [pare.log1p, Math.log1p, true],
  sqrt: [pare.sqrt, Math.sqrt, true],
  rsqrt: [pare.rsqrt, (x) => 1 / Math.sqrt(x), true],
  reciprocal: [pare.reciprocal, (x) => 1 / x],
  square: [pare.square, (x) => x * x],
  sin: [pare.sin, Math.sin],
  cos: [pare.cos, Math.cos],
  tanh: [pare.tanh, Math.tanh],
  sigmoid: [pare.sigmoid, logistic],
  silu: [pare.silu, (x) => x * logistic(x)],
  relu: [pare.relu, (x) => Math.max(x, 0)],
  geluTanh: [
    pare.geluTanh,
    (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  ],
  floor: [pare.floor, Math.floor],
  ceil: [pare.ceil, Math.ceil],
  round: [pare.round, evenRound],
}

export function elementwiseClaims(claim: Claim): void {
  for (const dtype of computing) {
    for (const [name, [run, want, positive]] of Object.entries(rules)) {
      claim(`${dtype}: ${name} is the function of each element, also through views`, () => {
        const input = exact(517).map((x) => (positive ? Math.abs(x) + 1 / 64 : x))
        const x = pare.cast(tensor(input, [11, 47], 'f64'), dtype)
        const seen = valuesOf(x) // |x| + 1/64 may round in bf16
        // Vectorised functions may be off by a few units of the last place where they do not cancel.
        expectNear(run(x), seen.map(want), { units: 8, scale: 0.25 })
        const view = x.transpose().slice(0, 1, 40, 3)
        expectNear(run(view), valuesOf(view).map(want), { units: 8, scale: 0.25 })
      })
    }
    claim(`${dtype}: erf and the exact GELU follow the table`, () => {
      const x = tensor(
        erfTable.map(([at]) => at),
        [6],
        dtype,
      )
      expectNear(
        pare.erf(x),
        erfTable.map(([, value]) => value),
        { units: 4 },
      )
      const root = tensor(
        erfTable.map(([at]) => at * Math.SQRT2),
        [6],
        'f64',
      )
      const gelu = erfTable.map(([at, value]) => (at * Math.SQRT2 * (1 + value)) / 2)
      // The argument is rounded to the type first: a relative error of one unit, times the slope.
      expectNear(pare.geluErf(pare.cast(root, dtype)), gelu, { units: 8, scale: 0.5 })
    })
    claim(`${dtype}: large arguments saturate instead of overflowing to NaN`, () => {
      const x = tensor([-200, 200], [2], dtype)
      expectNear(pare.sigmoid(x), [0, 1], { scale: 1e-30 })
      expectNear(pare.tanh(x), [-1, 1])
      expectNear(pare.silu(x), [0, 200], { scale: 1e-30 })
      expectNear(pare.geluErf(x), [0, 200], { scale: 1e-30 })
      expectNear(pare.geluTanh(x), [0, 200], { scale: 1e-30 })
      expectNear(pare.erf(x), [-1, 1])
    })
    claim(`${dtype}: NaN and infinities go through as IEEE 754 says`, () => {
      const x = tensor([NaN, Infinity, -Infinity, 0], [4], dtype)
      expectNear(pare.exp(x), [NaN, Infinity, 0, 1])
      expectNear(pare.log(x), [NaN, Infinity, NaN, -Infinity])
      expectNear(pare.sqrt(x), [NaN, Infinity, NaN, 0])
      expectNear(pare.reciprocal(x), [NaN, 0, 0, Infinity])
      expectNear(pare.rsqrt(x), [NaN, 0, NaN, Infinity])
      expectNear(pare.relu(x), [NaN, Infinity, 0, 0])
      expectNear(pare.sign(x), [NaN, 1, -1, 0])
      expectNear(pare.tanh(x), [NaN, 1, -1, 0])
      expectNear(pare.erf(x), [NaN, 1, -1, 0])
      expectNear(pare.sigmoid(x), [NaN, 1, 0, 0.5])
      expectNear(pare.sin(x), [NaN, NaN, NaN, 0])
      expectNear(pare.floor(x), [NaN, Infinity, -Infinity, 0])
      expectNear(pare.round(x), [NaN, Infinity, -Infinity, 0])
      expectNear(pare.expm1(x), [NaN, Infinity, -1, 0])
      expectNear(pare.log1p(x), [NaN, Infinity, NaN, 0])
      expect(valuesOf(pare.isNan(x))).toEqual([1, 0, 0, 0])
      expect(valuesOf(pare.isFinite(x))).toEqual([0, 0, 0, 1])
    })
    claim(`${dtype}: arithmetic broadcasts, rounds once, and takes numbers on either side`, () => {
      const [column, row] = [exactTensor([9, 1], dtype, 2), exactTensor([1, 70], dtype, 3)]
      const [c, r] = [valuesOf(column), valuesOf(row)]
      const table = (f: (x: number, y: number) => number) => c.flatMap((x) => r.map((y) => f(x, y)))
      expectShape(pare.add(column, row), [9, 70])
      expectNear(
        pare.add(column, row),
        table((x, y) => x + y),
      )
      expectNear(
        pare.sub(column, row),
        table((x, y) => x - y),
      )
      expectNear(
        pare.mul(column, row),
        table((x, y) => x * y),
      )
      expectNear(
        pare.div(column, row),
        table((x, y) => x / y),
      )
      expectNear(pare.maximum(column, row), table(Math.max))
      expectNear(pare.minimum(column, row), table(Math.min))
      expectNear(
        pare.sub(1, row),
        r.map((y) => 1 - y),
      )
      expectNear(
        row.div(4).add(0.5),
        r.map((y) => y / 4 + 0.5),
        { units: 2, scale: 0.5 },
      )
      expectNear(
        pare.pow(pare.abs(row), 1.5),
        r.map((y) => Math.abs(y) ** 1.5),
        { units: 8 },
      )
      expectNear(
        pare.pow(2, row),
        r.map((y) => 2 ** y),
        { units: 8 },
      )
    })
    claim(`${dtype}: pow, maximum and minimum keep the rules for NaN, zero and infinity`, () => {
      const of = (...values: number[]) => tensor(values, [values.length], dtype)
      expectNear(pare.pow(of(0, 0, NaN, 1, -2, -2, 4), of(0, -1, 0, NaN, 3, 0.5, -0.5)), [
        1,
        Infinity,
        1,
        1,
        -8,
        NaN,
        0.5,
      ])
      expectNear(pare.maximum(of(NaN, 1, -Infinity), of(1, NaN, 3)), [NaN, NaN, 3])
      expectNear(pare.minimum(of(NaN, 1, -Infinity), of(1, NaN, 3)), [NaN, NaN, -Infinity])
      expectNear(pare.div(of(1, -1, 0), of(0, 0, 0)), [Infinity, -Infinity, NaN])
      expectNear(pare.clamp(of(-3, 0.5, 3, NaN), { min: -1, max: 2 }), [-1, 0.5, 2, NaN])
      expectNear(pare.clamp(of(-3, 3), { min: 0 }), [0, 3])
    })
  }
  for (const dtype of dtypes) {
    claim(`${dtype}: comparisons give bool, where picks elements with their bits`, () => {
      const [a, b] = [tensor([0, 1, 1], [3], dtype), tensor([1, 1, 0], [3], dtype)]
      expect(valuesOf(pare.less(a, b))).toEqual([1, 0, 0])
      expect(valuesOf(pare.lessEqual(a, b))).toEqual([1, 1, 0])
      expect(valuesOf(pare.greater(a, b))).toEqual([0, 0, 1])
      expect(valuesOf(pare.greaterEqual(a, b))).toEqual([0, 1, 1])
      expect(valuesOf(pare.equal(a, b))).toEqual([0, 1, 0])
      expect(valuesOf(pare.notEqual(a, b))).toEqual([1, 0, 1])
      const condition = tensor([1, 0], [2, 1], 'bool')
      const chosen = pare.where(condition, a, b)
      expect(chosen.dtype).toBe(dtype)
      expect(valuesOf(chosen)).toEqual([0, 1, 1, 1, 1, 0])
    })
  }
  claim('integers compare by value, signs and all bits included', () => {
    expect(valuesOf(pare.less(tensor([-1], [1], 'i8'), tensor([1], [1], 'i8')))).toEqual([1])
    expect(valuesOf(pare.greater(tensor([2 ** 32 - 1], [1], 'u32'), tensor([1], [1], 'u32')))).toEqual([1])
    const [x, y] = [2n ** 53n, 2n ** 53n + 1n].map((word) => tensor(BigUint64Array.of(word), [1], 'u64'))
    expect(valuesOf(pare.equal(x!, y!))).toEqual([0])
  })
  claim('every comparison with NaN is false, but notEqual', () => {
    const [x, y] = [tensor([NaN, 1, NaN]), tensor([1, NaN, NaN])]
    for (const compare of [pare.less, pare.lessEqual, pare.greater, pare.greaterEqual, pare.equal]) {
      expect(valuesOf(compare(x, y))).toEqual([0, 0, 0])
    }
    expect(valuesOf(pare.notEqual(x, y))).toEqual([1, 1, 1])
  })
  claim('logical operations follow their tables', () => {
    const [a, b] = [tensor([0, 0, 1, 1], [4], 'bool'), tensor([0, 1, 0, 1], [4], 'bool')]
    expect(valuesOf(pare.logicalAnd(a, b))).toEqual([0, 0, 0, 1])
    expect(valuesOf(pare.logicalOr(a, b))).toEqual([0, 1, 1, 1])
    expect(valuesOf(pare.logicalNot(a))).toEqual([1, 1, 0, 0])
  })
  claim('empty operands give empty results', () => {
    expectShape(pare.add(full([0, 3], 1), full([3], 1)), [0, 3])
    expectShape(pare.exp(full([2, 0], 1)), [2, 0])
    expectShape(pare.less(full([0], 1), 3), [0])
    expectShape(pare.where(full([0], 1, 'bool'), full([0], 1), 2), [0])
  })
  claim('operands that do not fit are refused by name, and leave nothing behind', () => {
    expect(() => pare.add(full([2], 1), full([3], 1))).toThrow(/add: shapes \[2\] and \[3\]/)
    expect(() => pare.mul(full([2], 1), full([2], 1, 'f64'))).toThrow(/one number type, got f32 and f64/)
    expect(() => pare.exp(full([2], 1, 'i32'))).toThrow(/exp: needs f32, f64 or bf16, got i32/)
    expect(() => pare.add(full([2], 1, 'u8'), 1)).toThrow(ShapeError)
    expect(() => pare.logicalAnd(full([2], 1), full([2], 1))).toThrow(/must be bool/)
    expect(() => pare.clamp(full([2], 1), { min: 2, max: 1 })).toThrow(OptionError)
    expect(() => pare.add(1, 2)).toThrow(/at least one tensor/)
  })
}
