/** How good a language model is on windows that were held out. */
import type { Batch } from '../../optim/examples.ts'
import { AbortError } from '../../tensor/errors.ts'
import { type ComputeType, randomStream, scope } from '../../tensor/index.ts'
import type { LogitsTask } from '../../train/labelled_task.ts'
import type { TextData } from './text_data.ts'
import { inParts } from './trained_model.ts'
import type { Fits } from './training_memory.ts'

export interface LanguageTrainingOptions {
  data: TextData
  /** Tokens of a window. */
  length: number
  seed: number
  dtype: ComputeType
  /** Windows of a batch. */
  batch: number
  fits: Fits
}

/** Numbers that come out of one forward in training. */
export const logitsOf = ({ batch, length, data }: LanguageTrainingOptions): number =>
  batch * length * data.tokenizer.vocabularySize

/**
 * Nats a token, perplexity, and bits for each byte of the text that the scored tokens stand for.
 *
 * @param examples numbers of held-out windows
 */
export async function evaluateLanguage(
  task: LogitsTask<Batch>,
  { data, length, batch: size }: LanguageTrainingOptions,
  examples: Uint32Array,
  signal: AbortSignal | undefined,
): Promise<Record<string, number>> {
  let [nats, bytes] = [0, 0]
  for (const ids of inParts(examples, size)) {
    // Signals are heard between batches.
    await new Promise((done) => setImmediate(done))
    if (signal?.aborted) throw new AbortError()
    nats += scope(() => {
      const batch = data.heldOut.batch(ids, randomStream(0, 'held out'))
      return task.lossesOf(task.logits(batch, {}), batch).cast('f64').sum().item() * length
    })
    for (const id of ids) bytes += data.bytesOf(id)
  }
  const tokens = examples.length * length
  const loss = nats / tokens
  return { loss, perplexity: Math.exp(loss), bitsPerByte: nats / Math.LN2 / bytes, tokens, bytes }
}
