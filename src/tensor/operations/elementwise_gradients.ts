/** Derivatives of functions and arithmetic, element by element; operands have the shape of the result. */
import type { BinaryName, UnaryGradientName, UnaryName } from '../kernels.ts'
import { apply, type GradientContext, type Operation } from '../operation.ts'
import { Tensor } from '../tensor.ts'

type Unary = Operation<[Tensor], object, Tensor>
type Binary = Operation<[Tensor, Tensor], object, Tensor>
type Rule<O> =
  O extends Operation<infer I, infer Options, infer Out>
    ? Pick<Operation<I, Options, Out>, 'saves' | 'backward'>
    : never

/** Both of one shape and type. */
const unaryGradientOperation: Operation<[Tensor, Tensor], { name: UnaryGradientName }, Tensor> = {
  name: 'unaryGradient',
  forward: (kernels, [kept, dy], { name }) =>
    new Tensor(kernels, kernels.unaryGradient(name, kept.handle, dy.handle), kept.dtype, kept.shape),
}

/** One kernel, from x or y as it wants. */
const fused = (name: UnaryGradientName) => (kept: Tensor, gradient: Tensor) =>
  apply(unaryGradientOperation, [kept, gradient], { name })

/** Reads x. */
const ofInput = (derivative: (x: Tensor, gradient: Tensor) => Tensor): Rule<Unary> => ({
  saves: () => ({ inputs: [0] }),
  backward: ({ inputs: [x], gradient }) => [derivative(x, gradient)],
})
/** Reads the value of the function. */
const ofOutput = (derivative: (y: Tensor, gradient: Tensor) => Tensor): Rule<Unary> => ({
  saves: () => ({ outputs: [0] }),
  backward: ({ output, gradient }) => [derivative(output, gradient)],
})
/** Constant between its steps. */
const flat: Rule<Unary> = { backward: () => [undefined] }

export const unaryGradients: Readonly<Record<UnaryName, Rule<Unary>>> = {
  neg: { backward: ({ gradient }) => [gradient.neg()] },
  /** 0 at 0. */
  abs: ofInput((x, g) => g.mul(x.sign())),
  sign: flat,
  exp: ofOutput((y, g) => g.mul(y)),
  expm1: ofOutput((y, g) => g.mul(y.add(1))),
  log: ofInput((x, g) => g.div(x)),
  log1p: ofInput((x, g) => g.div(x.add(1))),
  sqrt: ofOutput((y, g) => g.div(y.mul(2))),
  rsqrt: ofOutput((y, g) => g.mul(y.square().mul(y)).mul(-0.5)),
  reciprocal: ofOutput((y, g) => g.mul(y.square()).neg()),
  square: ofInput((x, g) => g.mul(x).mul(2)),
  sin: ofInput((x, g) => g.mul(x.cos())),
  cos: ofInput((x, g) => g.mul(x.sin()).neg()),
  tanh: ofOutput(fused('tanh')),
  sigmoid: ofOutput(fused('sigmoid')),
  silu: ofInput(fused('silu')),
  /** 0 at 0. */
  relu: ofOutput(fused('relu')),
  geluErf: ofInput(fused('geluErf')),
  geluTanh: ofInput(fused('geluTanh')),
  erf: ofInput((x, g) => g.mul(x.square().neg().exp()).mul(2 / Math.sqrt(Math.PI))),
  floor: flat,
  ceil: flat,
  round: flat,
}

/** Either side, where it is asked for. */
const sides =
  (
    left: (context: GradientContext<[Tensor, Tensor], object, Tensor>) => Tensor,
    right: (context: GradientContext<[Tensor, Tensor], object, Tensor>) => Tensor,
  ): NonNullable<Binary['backward']> =>
  (context) => [context.needs[0] ? left(context) : undefined, context.needs[1] ? right(context) : undefined]
const both = () => ({ inputs: [0, 1] })

/** The smaller or larger of two gets the gradient; each gets half of it where they are equal. */
const chosen = (wins: 'greater' | 'less'): Rule<Binary> => ({
  saves: both,
  backward: ({ inputs: [a, b], gradient, needs }) => {
    const share = a.equal(b).where(gradient.mul(0.5), a[wins](b).where(gradient, 0))
    return [needs[0] ? share : undefined, needs[1] ? gradient.sub(share) : undefined]
  },
})

export const binaryGradients: Readonly<Record<BinaryName, Rule<Binary>>> = {
  add: { backward: ({ gradient }) => [gradient, gradient] },
  sub: {
    backward: sides(
      ({ gradient }) => gradient,
      ({ gradient }) => gradient.neg(),
    ),
  },
  mul: {
    saves: (needs) => ({ inputs: [...(needs[0] ? [1] : []), ...(needs[1] ? [0] : [])] }),
    backward: sides(
      ({ gradient, inputs }) => gradient.mul(inputs[1]),
      ({ gradient, inputs }) => gradient.mul(inputs[0]),
    ),
  },
  div: {
    saves: (needs) => ({ inputs: [1], outputs: needs[1] ? [0] : [] }),
    backward: sides(
      ({ gradient, inputs }) => gradient.div(inputs[1]),
      ({ gradient, inputs, output }) => gradient.mul(output).div(inputs[1]).neg(),
    ),
  },
  /** With respect to the exponent 0 where the base is 0. */
  pow: {
    saves: (needs) => ({ inputs: [0, 1], outputs: needs[1] ? [0] : [] }),
    backward: sides(
      ({ gradient, inputs: [a, b] }) => gradient.mul(b.equal(0).where(0, b.mul(a.pow(b.sub(1))))),
      ({ gradient, inputs: [a], output }) => gradient.mul(a.equal(0).where(0, output.mul(a.log()))),
    ),
  },
  maximum: chosen('greater'),
  minimum: chosen('less'),
}
