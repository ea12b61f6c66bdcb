/**
 * Arithmetic, functions and comparisons, element by element. Operands broadcast as in NumPy, share one number
 * type (nothing is promoted), and a number takes the type of the tensor beside it. bf16 rounds once a call.
 */
import { OptionError } from '../errors.ts'
import type { BinaryName, CompareName, TestName, UnaryName } from '../kernels.ts'
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { broadcastShapes } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { binaryGradients, unaryGradients } from './elementwise_gradients.ts'
import { broadcast, needType, type Operand, scalar } from './operand.ts'

type Unary = Operation<[Tensor], object, Tensor>
/** Operands of one shape and type. */
type Binary = Operation<[Tensor, Tensor], object, Tensor>

function unaryOperation(name: UnaryName): Unary {
  return {
    name,
    forward(kernels, [x]) {
      needCompute(x, name)
      return new Tensor(kernels, kernels.unary(name, x.handle), x.dtype, x.shape)
    },
    ...unaryGradients[name],
  }
}

function testOperation(name: TestName): Unary {
  return {
    name,
    forward(kernels, [x]) {
      if (name === 'logicalNot') needType(name, 'the operand', x, 'bool')
      else needCompute(x, name)
      return new Tensor(kernels, kernels.test(name, x.handle), 'bool', x.shape)
    },
  }
}

function binaryOperation(name: BinaryName): Binary {
  return {
    name,
    forward(kernels, [a, b]) {
      needCompute(a, name)
      return new Tensor(kernels, kernels.binary(name, a.handle, b.handle), a.dtype, a.shape)
    },
    ...binaryGradients[name],
  }
}

function compareOperation(name: CompareName): Binary {
  return {
    name,
    forward(kernels, [a, b]) {
      if (name.startsWith('logical')) needType(name, 'operands', a, 'bool')
      return new Tensor(kernels, kernels.compare(name, a.handle, b.handle), 'bool', a.shape)
    },
  }
}

const unary = (operation: Unary) => (x: Tensor) => apply(operation, [x], {})
const binary = (operation: Binary) => (a: Operand, b: Operand) =>
  scope(() => apply(operation, broadcast(operation.name, a, b), {}))

type UnaryFunction = (x: Tensor) => Tensor
type BinaryFunction = (a: Operand, b: Operand) => Tensor

export const add: BinaryFunction = binary(binaryOperation('add'))
export const sub: BinaryFunction = binary(binaryOperation('sub'))
export const mul: BinaryFunction = binary(binaryOperation('mul'))
export const div: BinaryFunction = binary(binaryOperation('div'))
export const pow: BinaryFunction = binary(binaryOperation('pow'))
/** The larger of each two; NaN where either is NaN. */
export const maximum: BinaryFunction = binary(binaryOperation('maximum'))
/** The smaller of each two; NaN where either is NaN. */
export const minimum: BinaryFunction = binary(binaryOperation('minimum'))

export const neg: UnaryFunction = unary(unaryOperation('neg'))
export const abs: UnaryFunction = unary(unaryOperation('abs'))
/** -1, 0 or 1; NaN for NaN. */
export const sign: UnaryFunction = unary(unaryOperation('sign'))
export const exp: UnaryFunction = unary(unaryOperation('exp'))
export const expm1: UnaryFunction = unary(unaryOperation('expm1'))
/** Natural logarithm. */
export const log: UnaryFunction = unary(unaryOperation('log'))
export const log1p: UnaryFunction = unary(unaryOperation('log1p'))
export const sqrt: UnaryFunction = unary(unaryOperation('sqrt'))
export const rsqrt: UnaryFunction = unary(unaryOperation('rsqrt'))
export const reciprocal: UnaryFunction = unary(unaryOperation('reciprocal'))
export const square: UnaryFunction = unary(unaryOperation('square'))
export const sin: UnaryFunction = unary(unaryOperation('sin'))
export const cos: UnaryFunction = unary(unaryOperation('cos'))
export const tanh: UnaryFunction = unary(unaryOperation('tanh'))
export const sigmoid: UnaryFunction = unary(unaryOperation('sigmoid'))
/** x * sigmoid(x) */
export const silu: UnaryFunction = unary(unaryOperation('silu'))
export const relu: UnaryFunction = unary(unaryOperation('relu'))
/** x * P(normal < x), exact. */
export const geluErf: UnaryFunction = unary(unaryOperation('geluErf'))
/** The tanh approximation of GELU (GPT-2). */
export const geluTanh: UnaryFunction = unary(unaryOperation('geluTanh'))
export const erf: UnaryFunction = unary(unaryOperation('erf'))
export const floor: UnaryFunction = unary(unaryOperation('floor'))
export const ceil: UnaryFunction = unary(unaryOperation('ceil'))
/** To the nearest whole number, halves to the even one. */
export const round: UnaryFunction = unary(unaryOperation('round'))

export const isNan: UnaryFunction = unary(testOperation('isNan'))
const finite: UnaryFunction = unary(testOperation('isFinite'))

export { finite as isFinite }
export const logicalNot: UnaryFunction = unary(testOperation('logicalNot'))

/** Comparisons take any number type and give bool; every one with NaN is false, but `notEqual`. */
export const equal: BinaryFunction = binary(compareOperation('equal'))
export const notEqual: BinaryFunction = binary(compareOperation('notEqual'))
export const less: BinaryFunction = binary(compareOperation('less'))
export const lessEqual: BinaryFunction = binary(compareOperation('lessEqual'))
export const greater: BinaryFunction = binary(compareOperation('greater'))
export const greaterEqual: BinaryFunction = binary(compareOperation('greaterEqual'))
export const logicalAnd: BinaryFunction = binary(compareOperation('logicalAnd'))
export const logicalOr: BinaryFunction = binary(compareOperation('logicalOr'))

const whereOperation: Operation<[Tensor, Tensor, Tensor], object, Tensor> = {
  name: 'where',
  forward(kernels, [condition, a, b]) {
    needType('where', 'the condition', condition, 'bool')
    const handle = kernels.where(condition.handle, a.handle, b.handle)
    return new Tensor(kernels, handle, a.dtype, a.shape)
  },
  saves: () => ({ inputs: [0] }),
  backward: ({ inputs: [condition], gradient, needs }) => [
    undefined,
    needs[1] ? where(condition, gradient, 0) : undefined,
    needs[2] ? where(condition, 0, gradient) : undefined,
  ],
}

/**
 * a where the condition holds, b elsewhere; all three broadcast.
 *
 * @example where(less(x, 0), 0, x)
 */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  return scope(() => {
    const [x, y] = broadcast('where', a, b)
    const shape = broadcastShapes(condition.shape, x.shape, 'where')
    return apply(whereOperation, [condition.expand(shape), x.expand(shape), y.expand(shape)], {})
  })
}

interface Bounds {
  min: number | undefined
  max: number | undefined
}

const clampOperation: Operation<[Tensor], Bounds, Tensor> = {
  name: 'clamp',
  forward(kernels, [x], { min, max }) {
    needCompute(x, 'clamp')
    return scope(() => {
      const against = (name: 'maximum' | 'minimum', y: Tensor, bound: number) => {
        const limit = scalar(bound, x).handle
        const zeros = x.shape.map(() => 0)
        const view = new Tensor(kernels, kernels.restride(limit, x.shape, zeros, 0), x.dtype, x.shape, zeros)
        return new Tensor(kernels, kernels.binary(name, y.handle, view.handle), x.dtype, x.shape)
      }
      const raised = min === undefined ? x : against('maximum', x, min)
      return max === undefined ? raised : against('minimum', raised, max)
    })
  },
  saves: () => ({ inputs: [0] }),
  backward: ({ inputs: [x], options: { min = -Infinity, max = Infinity }, gradient }) => [
    where(logicalAnd(greaterEqual(x, min), lessEqual(x, max)), gradient, 0),
  ],
}

/** Values below `min` become `min`, those above `max` become `max`; NaN stays. The gradient is 0 outside of the bounds. */
export function clamp(x: Tensor, { min, max }: { min?: number; max?: number }): Tensor {
  if (min === undefined && max === undefined) throw new OptionError('clamp: needs min, max or both')
  if (min !== undefined && max !== undefined && min > max) {
    throw new OptionError(`clamp: min ${min} is above max ${max}; exchange them`)
  }
  return apply(clampOperation, [x], { min, max })
}
