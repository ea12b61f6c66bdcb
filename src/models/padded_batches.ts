/** Sequences of different lengths that run through a model at once: short ones are filled up, and a mask hides that. */
import { type ComputeType, type Tensor, tensor } from '../tensor/index.ts'
import { usualBatchTokens } from './batches.ts'

export interface PaddedBatch {
  /** Token ids of all its sequences, one after the other, each filled up to `tokens`. */
  readonly ids: Uint32Array
  /** Kind of each token. @default 0 for all */
  readonly types?: Uint32Array
  /** Sequences. */
  readonly count: number
  /** Tokens of the longest. */
  readonly tokens: number
  /** Tokens of each that are not filling. */
  readonly lengths: readonly number[]
}

export interface BatchOptions {
  /** Id for the filling. */
  padId: number
  /** Tokens of a batch at most, filling included, where a sequence alone has fewer. @default 2048 */
  most?: number | undefined
}

/**
 * Batches of sequences of similar length: the shortest come first, so that little is filled up.
 *
 * @returns each batch with the places of its sequences in `sequences`
 * @example for (const { batch, places } of paddedBatches([ids, others], { padId: 0 })) ...
 */
export function paddedBatches(
  sequences: readonly Uint32Array[],
  { padId, most = usualBatchTokens }: BatchOptions,
): { batch: PaddedBatch; places: number[] }[] {
  const lengthOf = (place: number) => sequences[place]!.length
  const ordered = sequences.map((_, place) => place).sort((a, b) => lengthOf(a) - lengthOf(b) || a - b)
  const batches: { batch: PaddedBatch; places: number[] }[] = []
  for (let start = 0; start < ordered.length; ) {
    let end = start + 1
    while (end < ordered.length && (end + 1 - start) * lengthOf(ordered[end]!) <= most) end++
    const places = ordered.slice(start, end)
    batches.push({
      batch: padded(
        places.map((place) => sequences[place]!),
        padId,
      ),
      places,
    })
    start = end
  }
  return batches
}

/** One batch of all sequences. @example padded([Uint32Array.of(101, 102)], 0) */
export function padded(sequences: readonly Uint32Array[], padId: number): PaddedBatch {
  const lengths = sequences.map(({ length }) => length)
  const tokens = lengths.reduce((longest, length) => Math.max(longest, length), 0)
  const ids = new Uint32Array(sequences.length * tokens).fill(padId)
  for (const [i, sequence] of sequences.entries()) ids.set(sequence, i * tokens)
  return { ids, count: sequences.length, tokens, lengths }
}

/** Minus infinity where a key is filling, else 0, [count, 1, 1, tokens]; nothing where no sequence is filled up. */
export function paddingBias(
  { count, tokens, lengths }: PaddedBatch,
  dtype: ComputeType = 'f32',
): Tensor | undefined {
  if (lengths.every((length) => length === tokens)) return undefined
  const values = new Float32Array(count * tokens)
  for (const [i, length] of lengths.entries()) values.fill(-Infinity, i * tokens + length, (i + 1) * tokens)
  return tensor(values, [count, 1, 1, tokens], dtype)
}
