/** What a training makes: a task over parameters, its evaluation, and the files of the result. */
import type { Batch } from '../../optim/examples.ts'
import type { LogitsTask } from '../../train/labelled_task.ts'

export interface TrainedModel {
  readonly family: string
  readonly task: LogitsTask<Batch>
  /** Classes or tokens. */
  readonly classes: number
  /** Quality on some of the held-out examples, given by their numbers. */
  evaluate(examples: Uint32Array, signal: AbortSignal | undefined): Promise<Record<string, number>>
  /** Config and companions by file name, but for the weights. */
  files(): ReadonlyMap<string, string | Uint8Array>
}

/** Some of `count` examples, spread evenly; all where `most` is not given. */
export function spreadExamples(count: number, most = count): Uint32Array {
  const taken = Math.min(most, count)
  return Uint32Array.from({ length: taken }, (_, i) => Math.floor((i * count) / taken))
}

/** A list in parts of at most `size`. */
export function* inParts(examples: Uint32Array, size: number): Generator<Uint32Array> {
  for (let at = 0; at < examples.length; at += size) yield examples.slice(at, at + size)
}
