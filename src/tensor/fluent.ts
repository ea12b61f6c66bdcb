/** The common operations as methods of tensors: `x.matmul(w).add(b)` is `add(matmul(x, w), b)`. */

import { cast } from './operations/cast.ts'
import * as elementwise from './operations/elementwise.ts'
import { gather, indexSelect, sort, topK } from './operations/gather.ts'
import { gram, linear, matmul } from './operations/matmul.ts'
import { logSoftmax, softmax } from './operations/normalize.ts'
import { place } from './operations/place.ts'
import * as reduce from './operations/reduce.ts'
import { rotary } from './operations/rotary.ts'
import { Tensor } from './tensor.ts'

const operations = {
  add: elementwise.add,
  sub: elementwise.sub,
  mul: elementwise.mul,
  div: elementwise.div,
  pow: elementwise.pow,
  maximum: elementwise.maximum,
  minimum: elementwise.minimum,
  clamp: elementwise.clamp,
  neg: elementwise.neg,
  abs: elementwise.abs,
  sign: elementwise.sign,
  exp: elementwise.exp,
  log: elementwise.log,
  sqrt: elementwise.sqrt,
  rsqrt: elementwise.rsqrt,
  reciprocal: elementwise.reciprocal,
  square: elementwise.square,
  sin: elementwise.sin,
  cos: elementwise.cos,
  erf: elementwise.erf,
  tanh: elementwise.tanh,
  sigmoid: elementwise.sigmoid,
  silu: elementwise.silu,
  relu: elementwise.relu,
  floor: elementwise.floor,
  ceil: elementwise.ceil,
  round: elementwise.round,
  isNan: elementwise.isNan,
  isFinite: elementwise.isFinite,
  equal: elementwise.equal,
  notEqual: elementwise.notEqual,
  less: elementwise.less,
  lessEqual: elementwise.lessEqual,
  greater: elementwise.greater,
  greaterEqual: elementwise.greaterEqual,
  logicalNot: elementwise.logicalNot,
  logicalAnd: elementwise.logicalAnd,
  logicalOr: elementwise.logicalOr,
  where: elementwise.where,
  sum: reduce.sum,
  mean: reduce.mean,
  max: reduce.max,
  min: reduce.min,
  prod: reduce.prod,
  logsumexp: reduce.logsumexp,
  any: reduce.any,
  all: reduce.all,
  argmax: reduce.argmax,
  argmin: reduce.argmin,
  variance: reduce.variance,
  norm: reduce.norm,
  softmax,
  logSoftmax,
  rotary,
  matmul,
  linear,
  gram,
  cast,
  indexSelect,
  gather,
  place,
  sort,
  topK,
}

/** The operation without its first operand, which is the tensor that the method is called on. */
type Method<F> = F extends (x: never, ...rest: infer Rest) => infer Result ? (...rest: Rest) => Result : never
type Methods = { [Name in keyof typeof operations]: Method<(typeof operations)[Name]> }

declare module './tensor.ts' {
  interface Tensor extends Methods {}
}

for (const [name, operation] of Object.entries(operations)) {
  const run = operation as (x: Tensor, ...rest: unknown[]) => unknown
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: unknown[]) {
      return run(this, ...rest)
    },
    writable: true,
    configurable: true,
  })
}
