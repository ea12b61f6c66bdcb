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
  /** Gradients of the inputs, in order, from those of the output; undefined where an input needs none. */
  readonly backward?: (context: GradientContext<I, Options, O>) => readonly (Tensor | undefined)[]
}

export interface GradientContext<I extends Inputs, Options, O extends Outputs> {
  readonly inputs: I
  readonly options: Options
  readonly output: O
  /** Gradient of the loss with respect to each output. */
  readonly gradients: readonly Tensor[]
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
}

let recorder: Recorder | undefined

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
