/** The logits of one short sequence with one stage in memory at a time, and how far those of two models are apart. */
import { embedBatch } from '../models/batches.ts'
import type { LanguageModel } from '../models/language_model.ts'
import { runStage } from '../models/stage.ts'
import { AbortError } from '../tensor/errors.ts'
import { dispose, scope, trimPool } from '../tensor/index.ts'

/** Rows of the head in memory at a time: a block is read once, as all logits are made in one call. */
export const headRows = 2 ** 13

export interface TokenLogitsOptions {
  signal?: AbortSignal | undefined
  /** Share of the stages that are done. */
  progress?: ((share: number) => void) | undefined
}

/**
 * Logits [ids.length, vocabulary] of a sequence from its beginning.
 *
 * @throws AbortError when `signal` stops it.
 * @example const logits = await tokenLogits(open.model, Uint32Array.of(1, 2, 3))
 */
export async function tokenLogits(
  model: LanguageModel,
  ids: Uint32Array,
  { signal, progress }: TokenLogitsOptions = {},
): Promise<Float32Array> {
  let hidden = scope(() => embedBatch(model, { ids, count: 1, tokens: ids.length }))
  try {
    for (const [index, plan] of model.stages.entries()) {
      await new Promise((resolve) => setImmediate(resolve))
      if (signal?.aborted) throw new AbortError()
      const next = scope(() => runStage(plan.load(), hidden, model.context(ids.length)))
      hidden.dispose()
      hidden = next
      progress?.((index + 1) / model.stages.length)
    }
    // What stages left in the pool goes before the head comes.
    trimPool()
    const head = model.loadHead({ blockRows: headRows })
    try {
      return scope(() => head.logits(hidden.select(0, 0)).toArray() as Float32Array)
    } finally {
      dispose(head)
    }
  } finally {
    hidden.dispose()
  }
}

export interface LogitDistance {
  /** Largest difference over the largest magnitude of the source's logits. */
  largest: number
  /** Mean over tokens of sum_v p_source(v) (log p_source(v) - log p(v)), in nats. */
  kl: number
  /** Share of tokens after which both expect the same token. */
  top1: number
  /**
   * Square root of the sum of squared differences over that of the source's logits, both around the mean of their
   * token: what softmax does not see does not count.
   */
  relative: number
}

/** `own` and `source` are [tokens, vocabulary]; all is NaN where one of them holds what is not finite. */
export function logitDistance(own: Float32Array, source: Float32Array, vocabulary: number): LogitDistance {
  const tokens = source.length / vocabulary
  let [difference, magnitude, kl, agreed, apart, spread] = [0, 0, 0, 0, 0, 0]
  for (let row = 0; row < tokens; row++) {
    const [q, p] = [own, source].map((all) => all.subarray(row * vocabulary, (row + 1) * vocabulary)) as [
      Float32Array,
      Float32Array,
    ]
    const [ofOwn, ofSource] = [summary(q), summary(p)]
    if (ofOwn.top === ofSource.top) agreed++
    for (let i = 0; i < vocabulary; i++) {
      const [a, b] = [q[i]!, p[i]!]
      // NaN, which no comparison finds, is kept.
      difference = Math.max(difference, Math.abs(a - b))
      magnitude = Math.max(magnitude, Math.abs(b))
      const logP = b - ofSource.logSum
      kl += Math.exp(logP) * (logP - (a - ofOwn.logSum))
      apart += (a - ofOwn.mean - (b - ofSource.mean)) ** 2
      spread += (b - ofSource.mean) ** 2
    }
  }
  const share = (part: number, whole: number) => (part === 0 ? 0 : part / whole)
  return {
    largest: share(difference, magnitude),
    kl: kl / tokens,
    top1: agreed / tokens,
    relative: Math.sqrt(share(apart, spread)),
  }
}

/** Of the logits after one token; of equally likely tokens the lowest id is the top. */
export function summary(logits: Float32Array): { top: number; mean: number; logSum: number } {
  let [top, sum] = [0, 0]
  for (let i = 0; i < logits.length; i++) {
    sum += logits[i]!
    if (logits[i]! > logits[top]!) top = i
  }
  const most = logits[top]!
  let exponentials = 0
  for (const logit of logits) exponentials += Math.exp(logit - most)
  return { top, mean: sum / logits.length, logSum: most + Math.log(exponentials) }
}
