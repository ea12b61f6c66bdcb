/** Derivatives of functions and arithmetic, element by element; operands have the shape of the result. */
import type { BinaryName, UnaryName } from '../kernels.ts'
import type { GradientContext, Operation } from '../operation.ts'
import type { Tensor } from '../tensor.ts'

type Unary = Operation<[Tensor], object, Tensor>
type Binary = Operation<[Tensor, Tensor], object, Tensor>
type Rule<O> =
  O extends Operation<infer I, infer Options, infer Out>
    ? Pick<Operation<I, Options, Out>, 'saves' | 'backward'>
    : never

const [SQRT_2, SQRT_2_PI, SQRT_PI] = [Math.SQRT2, Math.sqrt(2 * Math.PI), Math.sqrt(Math.PI)]

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
  tanh: ofOutput((y, g) => g.mul(y.square().neg().add(1))),
  sigmoid: ofOutput((y, g) => g.mul(y.sub(y.square()))),
  /** s (1 + x (1 - s)) with s = sigmoid(x). */
  silu: ofInput((x, g) => {
    const s = x.sigmoid()
    return g.mul(s.mul(x.mul(s.neg().add(1)).add(1)))
  }),
  /** 0 at 0. */
  relu: ofOutput((y, g) => y.greater(0).where(g, 0)),
  /** P(normal < x) + x times the density of the normal distribution at x. */
  geluErf: ofInput((x, g) => {
    const below = x.div(SQRT_2).erf().add(1).mul(0.5)
    const density = x.square().mul(-0.5).exp().div(SQRT_2_PI)
    return g.mul(below.add(x.mul(density)))
  }),
  geluTanh: ofInput((x, g) => {
    const [scale, cubic] = [Math.sqrt(2 / Math.PI), 0.044715]
    const squared = x.square()
    const t = x.mul(squared.mul(cubic).add(1)).mul(scale).tanh()
    const slope = squared
      .mul(3 * cubic)
      .add(1)
      .mul(scale)
    return g.mul(
      t
        .add(1)
        .add(x.mul(t.square().neg().add(1)).mul(slope))
        .mul(0.5),
    )
  }),
  erf: ofInput((x, g) => g.mul(x.square().neg().exp()).mul(2 / SQRT_PI)),
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
