/** Gradients against central differences, in f64. */
import { expect } from 'vitest'
import { exactTensor, valuesOf } from '../contract/claims.suite.ts'
import { mul, type Shape, scope, sum, Tensor, tensor, vjp } from '../index.ts'

export interface GradientCheckOptions {
  /** Half the distance of the differences. @default 2^-17, where their two errors are equal for values near 1 */
  step?: number
  /** Largest relative error, beside the largest entry of the gradient. @default 1e-8 */
  tolerance?: number
  /** Inputs that get no gradient. */
  constant?: readonly number[]
}

type Body = (...inputs: Tensor[]) => Tensor | readonly Tensor[]

/** Values in [-2, 2], none of them the same in f64 terms, of every shape. */
export const inputsOf = (...shapes: Shape[]): Tensor[] =>
  shapes.map((shape, i) =>
    exactTensor(shape, 'f64', i + 1)
      .mul(0.73)
      .add(0.011 * (i + 1)),
  )

/**
 * The gradient of a weighted sum of all outputs, with weights that differ, against differences in every entry of every
 * input. Inputs pass through an operation first whose result dies with its scope, so that what `backward` reads without
 * saying so in `saves` is not there.
 */
export function gradientCheck(
  body: Body,
  inputs: readonly Tensor[],
  { step = 2 ** -17, tolerance = 1e-8, constant = [] }: GradientCheckOptions = {},
): void {
  const run = (given: readonly Tensor[]) =>
    scope(() => {
      const made = given.map((x, i) => (constant.includes(i) ? x : x.add(0)))
      return listOf(body(...made)).filter(({ dtype }) => dtype === 'f64')
    })
  const weightsOf = (outputs: readonly Tensor[]) => outputs.map((y, i) => exactTensor(y.shape, 'f64', 7 + i))
  const total = (given: readonly Tensor[]) =>
    scope(() => {
      const outputs = run(given)
      const weights = weightsOf(outputs)
      return outputs.reduce((all, y, i) => all + sum(mul(y, weights[i]!)).item(), 0)
    })
  scope(() => {
    const { value, pull } = vjp(() => run(inputs), inputs)
    const gradients = pull(value.map((y, i) => [y, weightsOf(value)[i]!] as const))
    for (const [i, x] of inputs.entries()) {
      if (constant.includes(i)) continue
      const [values, found] = [valuesOf(x), valuesOf(gradients[i]!)]
      const wanted = values.map((_, at) => {
        const moved = (by: number) => {
          const changed = tensor(values.with(at, values[at]! + by), x.shape, 'f64')
          return total(inputs.with(i, changed))
        }
        return scope(() => (moved(step) - moved(-step)) / (2 * step))
      })
      const size = Math.max(1, ...wanted.map(Math.abs))
      for (const [at, want] of wanted.entries())
        if (!(Math.abs(found[at]! - want) <= tolerance * size))
          expect.fail(
            `gradient of input ${i} at ${at}: got ${found[at]}, differences give ${want} (of at most ${size})`,
          )
    }
  })
}

const listOf = (value: Tensor | readonly Tensor[]): readonly Tensor[] =>
  value instanceof Tensor ? [value] : value
