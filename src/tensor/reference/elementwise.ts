/** One number in, one number out: the functions behind unary, binary and compare kernels, in f64. */
import type { BinaryName, CompareName, TestName, UnaryGradientName, UnaryName } from '../kernels.ts'
import { roundHalfEven } from './numbers.ts'

/**
 * Below 2 the series erf(x) = 2 / sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!, whose terms all have one sign;
 * from there on 1 - erfc(x) with erfc(x) = exp(-x^2) / sqrt(pi) / (x + (1/2) / (x + 1 / (x + (3/2) / (x + ..)))).
 */
export function erf(x: number): number {
  const size = Math.abs(x)
  if (size > 6) return Math.sign(x)
  if (size > 2) {
    let tail = 0
    for (let n = 100; n >= 1; n--) tail = n / 2 / (size + tail)
    return Math.sign(x) * (1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (size + tail))
  }
  let term = x
  let sum = x
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1)
    sum += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
export const unary: Record<UnaryName, (x: number) => number> = {
  neg: (x) => -x,
  abs: Math.abs,
  sign: Math.sign,
  exp: Math.exp,
  expm1: Math.expm1,
  log: Math.log,
  log1p: Math.log1p,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  reciprocal: (x) => 1 / x,
  square: (x) => x * x,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  sigmoid,
  silu: (x) => x * sigmoid(x),
  relu: (x) => Math.max(x, 0),
  geluErf: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  geluTanh: (x) => (x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))) / 2,
  erf,
  floor: Math.floor,
  ceil: Math.ceil,
  round: (x) => (Number.isFinite(x) ? roundHalfEven(x) : x),
}

/** f'(x) from x for the first three, from y = f(x) for the others. */
export const slopes: Record<UnaryGradientName, (kept: number) => number> = {
  silu: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))),
  geluErf: (x) => (1 + erf(x / Math.SQRT2)) / 2 + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI),
  geluTanh(x) {
    const scale = Math.sqrt(2 / Math.PI)
    const t = Math.tanh(scale * (x + 0.044715 * x ** 3))
    return (1 + t + x * (1 - t * t) * scale * (1 + 3 * 0.044715 * x * x)) / 2
  },
  tanh: (y) => 1 - y * y,
  sigmoid: (y) => y * (1 - y),
  relu: (y) => (y > 0 ? 1 : y * 0),
}

export const tests: Record<TestName, (x: number) => boolean> = {
  isNan: Number.isNaN,
  isFinite: Number.isFinite,
  logicalNot: (x) => x === 0,
}

/** JavaScript gives NaN for 1 ** NaN and (-1) ** Infinity, where IEEE 754 and C give 1. */
const power = (x: number, y: number) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y)

/** A NaN on either side wins. */
export const binary: Record<BinaryName, (x: number, y: number) => number> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  pow: power,
  maximum: (x, y) => Math.max(x, y),
  minimum: (x, y) => Math.min(x, y),
}

/** For numbers and bigints alike. */
export const compare: Record<CompareName, (x: number | bigint, y: number | bigint) => boolean> = {
  equal: (x, y) => x === y,
  notEqual: (x, y) => x !== y,
  less: (x, y) => x < y,
  lessEqual: (x, y) => x <= y,
  greater: (x, y) => x > y,
  greaterEqual: (x, y) => x >= y,
  logicalAnd: (x, y) => Boolean(x) && Boolean(y),
  logicalOr: (x, y) => Boolean(x) || Boolean(y),
}
