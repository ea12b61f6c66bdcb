/** An encoder beside its source: how near the vectors of the same texts are. */
import { type Passages, readPassages } from '../calibrate/text_passages.ts'
import { defaultEvaluationText } from '../calibrate/text_samples.ts'
import { compareVectors, type EmbeddingMetrics } from '../metrics/embeddings.ts'
import { sentenceEncoder } from '../models/bert/sentence_encoder.ts'
import type { OpenTextEncoder } from '../models/open_model.ts'
import { AbortError } from '../tensor/errors.ts'
import { scope, trimPool } from '../tensor/index.ts'
import type { RunHooks } from './evaluate.ts'

/** Passages that run through a model between two looks at the signal. */
const PART = 16

/** The passages of the evaluation text: `windows` of them, 20 where nothing is said, 60 words each. */
export const evaluationPassages = (
  source: OpenTextEncoder,
  { text, windows }: { text?: readonly string[] | undefined; windows?: number | undefined },
): Passages =>
  readPassages(
    text ?? [defaultEvaluationText()],
    { tokenizer: source.tokenizer(), chatTemplates: source.chatTemplates() },
    windows === undefined ? {} : { count: windows },
  )

/**
 * One model is in memory at a time.
 *
 * @throws AbortError when `signal` stops it.
 * @example const { meanCosine } = await compareEncoders(result, source, ['A cat sits.'])
 */
export async function compareEncoders(
  result: OpenTextEncoder,
  source: OpenTextEncoder,
  texts: readonly string[],
  hooks: RunHooks = {},
): Promise<EmbeddingMetrics> {
  const wanted = await vectorsOf(source, texts, hooks, 0)
  return compareVectors(await vectorsOf(result, texts, hooks, 0.5), wanted)
}

/** `done` is the share of the work before this model; it is half of it. */
async function vectorsOf(
  open: OpenTextEncoder,
  texts: readonly string[],
  { progress, signal }: RunHooks,
  done: number,
): Promise<Float32Array[]> {
  trimPool()
  const encoder = scope(() => sentenceEncoder(open))
  try {
    const vectors: Float32Array[] = []
    for (let start = 0; start < texts.length; start += PART) {
      const text = `${texts.length} passages`
      progress?.({ kind: 'progress', phase: 'evaluate', share: done + start / texts.length / 2, text })
      await new Promise((resolve) => setImmediate(resolve))
      if (signal?.aborted) throw new AbortError()
      vectors.push(...encoder.embed(texts.slice(start, start + PART)))
    }
    return vectors
  } finally {
    encoder.close()
    trimPool()
  }
}
