/**
 * Recomputation in place of memory (Chen et al. 2016, arXiv:1604.06174, section 3): of a part of the forward only its
 * inputs are kept, and the way back runs it again.
 */
import {
  apply,
  currentRecorder,
  type Operation,
  type Recorder,
  unrecorded,
  withRecorder,
} from '../operation.ts'
import { type RandomStream, type StreamState, watchStreams } from '../random.ts'
import { scope } from '../scope.ts'
import type { Tensor } from '../tensor.ts'
import { Tape } from './tape.ts'

let recomputing = false

/** Whether a forward runs for the second time, on the way back: what has effects outside of it does them once. */
export const isRecomputing = (): boolean => recomputing

interface Part {
  readonly f: (...inputs: Tensor[]) => Tensor | readonly Tensor[]
  readonly given: readonly Tensor[]
  /** Values on the tape that `f` reads beside its inputs, such as parameters. */
  readonly captured: readonly Tensor[]
  readonly streams: ReadonlyMap<RandomStream, StreamState>
  readonly outputs: readonly Tensor[]
}

/** Inputs: those of `f`, then what it captures. */
const checkpointOperation: Operation<readonly Tensor[], Part, readonly Tensor[]> = {
  name: 'checkpoint',
  forward: (_, __, { outputs }) => outputs,
  saves: (needs) => ({ inputs: needs.map((_, i) => i) }),
  backward({ inputs, options: { f, given, captured, streams }, gradients, needs }) {
    const own = inputs.slice(0, given.length)
    // `f` finds what it captured by the tensors that it closed over.
    const leaves = [...own, ...captured]
    const tape = new Tape(leaves.filter((_, i) => needs[i]))
    try {
      const outputs = replaying(streams, () => tape.run(() => scope(() => listOf(f(...own)))))
      const roots = outputs.flatMap((output, i) => {
        const gradient = gradients[i]
        return gradient ? [[output, gradient] as const] : []
      })
      const found = tape.backward(roots, leaves)
      return found.map((gradient, i) => (needs[i] ? gradient : undefined))
    } finally {
      tape.dispose()
    }
  },
}

/**
 * Runs `f` so that a tape keeps its inputs and nothing that is made inside. The way back runs `f` again, with its random
 * streams where they were, and finds the same bits. Tensors that `f` closes over get their gradients too; they must live
 * until the way back, as parameters do.
 *
 * @example const y = checkpoint((x) => block.forward(x), x)
 */
export function checkpoint<const I extends readonly Tensor[], O extends Tensor | readonly Tensor[]>(
  f: (...inputs: I) => O,
  ...inputs: I
): O {
  const recorder = currentRecorder()
  if (!recorder?.tracks) return f(...inputs)
  const captured = new Set<Tensor>()
  const watch: Recorder = {
    record: (entry) => {
      for (const input of entry.inputs)
        if (input && recorder.tracks!(input) && !inputs.includes(input)) captured.add(input)
    },
    tracks: (x) => recorder.tracks!(x),
  }
  const { value, before } = watchStreams(() => withRecorder(watch, () => scope(() => f(...inputs))))
  const outputs = listOf(value).map((x) => (recorder.tracks!(x) ? unrecorded(() => x.alias()) : x))
  const part: Part = {
    f: f as unknown as Part['f'],
    given: inputs,
    captured: [...captured],
    streams: before,
    outputs,
  }
  const found = apply(checkpointOperation, [...inputs, ...captured], part)
  return (Array.isArray(value) ? found : found[0]) as O
}

/** Draws again what was drawn, and leaves the streams where they are. */
function replaying<T>(streams: ReadonlyMap<RandomStream, StreamState>, body: () => T): T {
  const now = [...streams.keys()].map((stream) => [stream, stream.state()] as const)
  for (const [stream, state] of streams) stream.load(state)
  const before = recomputing
  recomputing = true
  try {
    return body()
  } finally {
    recomputing = before
    for (const [stream, state] of now) stream.load(state)
  }
}

const listOf = (value: Tensor | readonly Tensor[]): readonly Tensor[] =>
  Array.isArray(value) ? value : [value as Tensor]
