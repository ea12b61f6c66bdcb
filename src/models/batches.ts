/** Sequences of equal length that run through a model at once, so that each weight is read fewer times. */
import type { Tensor } from '../tensor/index.ts'

export interface SequenceBatch {
  /** Token ids of all its sequences, one after the other. */
  readonly ids: Uint32Array
  /** Sequences. */
  readonly count: number
  /** Tokens of each. */
  readonly tokens: number
}

/** Tokens of a batch, at most, where a sequence alone has fewer. */
export const usualBatchTokens = 2048

/** Neighbouring sequences of equal length, stacked up to `most` tokens; a longer one stands alone. */
export function batchesOf(
  sequences: readonly Uint32Array[],
  most: number = usualBatchTokens,
): SequenceBatch[] {
  const batches: SequenceBatch[] = []
  for (let start = 0; start < sequences.length; ) {
    const tokens = sequences[start]!.length
    let end = start + 1
    while (sequences[end]?.length === tokens && (end + 1 - start) * tokens <= most) end++
    const ids = new Uint32Array((end - start) * tokens)
    for (let i = start; i < end; i++) ids.set(sequences[i]!, (i - start) * tokens)
    batches.push({ ids, count: end - start, tokens })
    start = end
  }
  return batches
}

/** What turns ids into the states that enter the first stage. */
export interface EmbeddingModel {
  /** Ids of sequences, one after the other, `tokens` each: [ids, hidden], or [sequences, tokens, hidden]. */
  embed(ids: Uint32Array, tokens: number): Tensor
}

/** The embedding of a batch, [count, tokens, hidden]. */
export function embedBatch(model: EmbeddingModel, batch: SequenceBatch): Tensor {
  const rows = model.embed(batch.ids, batch.tokens)
  return rows.reshape([batch.count, batch.tokens, rows.extent(-1)])
}
