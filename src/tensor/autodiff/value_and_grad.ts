/** Gradients of functions of tensors, by the tape. */
import { ShapeError } from '../errors.ts'
import { fullLike, zerosLike } from '../makers.ts'
import { currentRecorder } from '../operation.ts'
import { scope } from '../scope.ts'
import { showShape } from '../shape.ts'
import { Tensor } from '../tensor.ts'
import { Tape } from './tape.ts'

/** Tensors in an array, in a map by path, or in a record by name; gradients come back the same way. */
export type Tensors = readonly Tensor[] | ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>

/** The same arrangement, of gradients. */
export type GradientsOf<P extends Tensors> =
  P extends ReadonlyMap<string, Tensor>
    ? Map<string, Tensor>
    : P extends readonly Tensor[]
      ? { -readonly [I in keyof P]: Tensor }
      : { -readonly [Name in keyof P]: Tensor }

/** What a function to be minimised returns: the loss, alone or with whatever else the caller wants of the forward. */
export type Loss = Tensor | { readonly loss: Tensor }

export interface ValueAndGradients<L, P extends Tensors> {
  value: L
  /** Zeros for a parameter that the loss does not depend on. */
  gradients: GradientsOf<P>
  /** Bytes that were kept for the way back, beside the parameters. */
  savedBytes: number
}

/**
 * The value of a function and the gradients of its loss, a tensor of one element, with respect to the parameters.
 *
 * @throws ShapeError where the loss has more elements than one; StateError where a state that the forward read has
 * changed in place before the way back; OptionError where the loss depends on a parameter through an operation without
 * a gradient.
 * @example
 * const { value, gradients } = valueAndGrad(({ w }) => linear(x, w).sub(y).square().mean(), { w })
 */
export function valueAndGrad<L extends Loss, const P extends Tensors>(
  f: (parameters: P) => L,
  parameters: P,
): ValueAndGradients<L, P> {
  return scope(() => {
    const { value, pull, savedBytes } = vjp(f, parameters)
    const loss = value instanceof Tensor ? value : value.loss
    if (loss.size !== 1)
      throw new ShapeError(
        `valueAndGrad: the loss needs one element, got ${showShape(loss.shape)}; sum it, or use vjp with a cotangent`,
      )
    return { value, savedBytes, gradients: pull([[loss, fullLike(loss, 1)]]) }
  })
}

export interface Pullback<T, P extends Tensors> {
  value: T
  /**
   * Goes back, once, from gradients of tensors that the function returned to those of the inputs.
   *
   * @param cotangents pairs of such a tensor and the gradient that arrives there, of the same shape and type
   */
  pull(cotangents: readonly (readonly [Tensor, Tensor])[]): GradientsOf<P>
  /** Frees what is kept for the way back, where nobody goes it. */
  dispose(): void
  readonly savedBytes: number
}

/**
 * The value of a function, and the way back from gradients of its outputs to those of its inputs.
 *
 * @example
 * const { value, pull } = vjp(([x]) => x.exp(), [x])
 * const [dx] = pull([[value, cotangent]])
 */
export function vjp<T, const P extends Tensors>(f: (inputs: P) => T, inputs: P): Pullback<T, P> {
  const leaves = listOf(inputs)
  const tape = new Tape(leaves)
  let value: T
  try {
    value = tape.run(() => scope(() => f(inputs)))
  } catch (error) {
    tape.dispose()
    throw error
  }
  const { savedBytes } = tape
  return {
    value,
    savedBytes,
    pull(cotangents) {
      try {
        const found = tape.backward(cotangents, leaves)
        return arranged(
          inputs,
          found.map((gradient, i) => gradient ?? zerosLike(leaves[i]!)),
        )
      } finally {
        tape.dispose()
      }
    },
    dispose: () => tape.dispose(),
  }
}

/** The same numbers, as a constant: no gradient flows to x. */
export const stopGradient = (x: Tensor): Tensor => (currentRecorder() ? x.alias() : x)

const listOf = (tensors: Tensors): readonly Tensor[] =>
  Array.isArray(tensors)
    ? (tensors as readonly Tensor[])
    : tensors instanceof Map
      ? [...(tensors as ReadonlyMap<string, Tensor>).values()]
      : Object.values(tensors)

function arranged<P extends Tensors>(like: P, list: readonly Tensor[]): GradientsOf<P> {
  if (Array.isArray(like)) return [...list] as never
  if (like instanceof Map) return new Map([...like.keys()].map((key, i) => [key, list[i]!])) as never
  return Object.fromEntries(Object.keys(like).map((key, i) => [key, list[i]!])) as never
}
