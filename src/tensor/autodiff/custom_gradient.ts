/** Functions whose way back is written by hand: straight-through estimators, gates, quantised activations. */
import { apply, type Operation, unrecorded } from '../operation.ts'
import type { Tensor } from '../tensor.ts'
import { isRecomputing } from './checkpoint.ts'

export interface CustomGradient<I extends readonly Tensor[], S extends readonly Tensor[]> {
  /** Named in errors. */
  readonly name: string
  /** Runs off the tape. `saved` is what `backward` reads of it: the tape keeps that alive, and counts its bytes. */
  readonly forward: (inputs: I, context: { readonly recomputing: boolean }) => { output: Tensor; saved: S }
  /** Gradients of the inputs, in order; undefined where there is none. */
  readonly backward: (context: {
    readonly saved: S
    /** What arrives at the output. */
    readonly gradient: Tensor
    readonly needs: readonly boolean[]
  }) => readonly (Tensor | undefined)[]
}

/**
 * A function with a gradient of its own.
 *
 * @example
 * // Rounds; the gradient passes as if it had not.
 * const roundThrough = customGradient({
 *   name: 'roundThrough',
 *   forward: ([x]: [Tensor]) => ({ output: x.round(), saved: [] }),
 *   backward: ({ gradient }) => [gradient],
 * })
 * const y = roundThrough(x)
 */
export function customGradient<const I extends readonly Tensor[], S extends readonly Tensor[]>({
  name,
  forward,
  backward,
}: CustomGradient<I, S>): (...inputs: I) => Tensor {
  const operation: Operation<I, object, readonly Tensor[]> = {
    name,
    forward: (_, inputs) =>
      unrecorded(() => {
        const { output, saved } = forward(inputs, { recomputing: isRecomputing() })
        // An input that is handed on would be one value under two numbers.
        return [output, ...saved].map((x) => (inputs.includes(x) ? x.alias() : x))
      }),
    saves: () => ({ outputs: { from: 1 } }),
    backward: ({ output, gradient, needs }) =>
      backward({ saved: output.slice(1) as unknown as S, gradient, needs }),
  }
  return (...inputs) => apply(operation, inputs, {})[0]!
}
