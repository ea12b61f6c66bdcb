/**
 * The seam of the tape. Every operation is one record: what it computes, and (where it has one) its gradient.
 * `apply` runs it and shows it to the recorder, so that no operation is written twice.
 */
import { ShapeError } from './errors.ts'
import type { Kernels } from './kernels.ts'
import { nativeFault } from './native.ts'
import type { Tensor } from './tensor.ts'

type Inputs = readonly (Tensor | undefined)[]
type Outputs = Tensor | readonly Tensor[]

export interface Operation<I extends Inputs, Options, O extends Outputs> {
  readonly name: string
  /** Checks shapes and types, calls a kernel, wraps the result. Inputs are alive and share `kernels`. */
  readonly forward: (kernels: Kernels, inputs: I, options: Options) => O
  /**
   * What `backward` reads of inputs and outputs beside their shapes and types: the tape keeps that alive, and no more.
   * `needs[i]` says whether input i gets a gradient. @default nothing
   */
  readonly saves?: (needs: readonly boolean[], options: Options) => Saved
  /**
   * Gradients of the inputs, in order, each of its input's shape and type; undefined where an input needs none, or has
   * none. Runs unrecorded, in a scope. Without it a gradient that arrives at an output is an error.
   */
  readonly backward?: (context: GradientContext<I, Options, O>) => readonly (Tensor | undefined)[]
}

/** Positions of inputs and outputs. */
export interface Saved {
  readonly inputs?: readonly number[]
  readonly outputs?: readonly number[] | { readonly from: number }
}

export interface GradientContext<I extends Inputs, Options, O extends Outputs> {
  /** Alive where `saves` names them; of the others shape and type may be read. */
  readonly inputs: I
  readonly options: Options
  readonly output: O
  readonly needs: readonly boolean[]
  /** Gradient of the loss with respect to the first output; zeros where none arrived. */
  readonly gradient: Tensor
  /** Gradient of the loss with respect to each output. */
  readonly gradients: readonly (Tensor | undefined)[]
}

/** One run of an operation, as the tape stores it. */
export interface Entry {
  readonly operation: Operation<never, never, never>
  readonly inputs: Inputs
  readonly options: unknown
  readonly output: Outputs
}

export interface Recorder {
  record(entry: Entry): void
  /** Whether a gradient may flow to this tensor. */
  tracks?(x: Tensor): boolean
}

let recorder: Recorder | undefined

export const currentRecorder = (): Recorder | undefined => recorder

/** Whether a fused forward should also give what its backward wants. */
export const isRecording = (): boolean => recorder !== undefined

/** Runs `body` with every operation shown to `next`; nothing is recorded without. */
export function withRecorder<T>(next: Recorder | undefined, body: () => T): T {
  const before = recorder
  recorder = next
  try {
    return body()
  } finally {
    recorder = before
  }
}

/** Runs `body` unseen by any recorder. */
export const unrecorded = <T>(body: () => T): T => withRecorder(undefined, body)

/** The only way that operations run. */
export function apply<I extends Inputs, Options, O extends Outputs>(
  operation: Operation<I, Options, O>,
  inputs: I,
  options: Options,
): O {
  const kernels = kernelsOf(operation.name, inputs)
  let output: O
  try {
    output = operation.forward(kernels, inputs, options)
  } catch (error) {
    throw nativeFault(error)
  }
  recorder?.record({ operation: operation as never, inputs, options, output })
  return output
}

function kernelsOf(name: string, inputs: Inputs): Kernels {
  let kernels: Kernels | undefined
  for (const input of inputs) {
    if (!input) continue
    if (!input.alive)
      throw new ShapeError(`${name}: an input is no longer alive; return it from its scope to keep it`)
    kernels ??= input.kernels
    if (input.kernels !== kernels)
      throw new ShapeError(
        `${name}: inputs live in ${kernels.name} and ${input.kernels.name} memory; move one`,
      )
  }
  if (!kernels) throw new ShapeError(`${name}: needs at least one tensor`)
  return kernels
}
