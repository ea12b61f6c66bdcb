/** Whether a text encoder gives the vectors that its source does. */
import { sentenceEncoder } from '../../models/bert/sentence_encoder.ts'
import type { OpenTextEncoder } from '../../models/open_model.ts'
import { scope, trimPool } from '../../tensor/index.ts'
import { areLossless, cosineBound } from './bounds.ts'
import { embeddedTokens, sentences } from './fixed_texts.ts'
import { type Check, checkOf } from './verification.ts'

/**
 * One stage of one encoder is in memory at a time. Texts are tokenised by each with its own tokenizer.
 *
 * @param options `changed` tells why no bound holds where one is not kept: a method changed weights; `rewritten` says that
 * the weights of the result are others than those of the source, and compute the same
 */
export function checkVectors(
  result: OpenTextEncoder,
  source: OpenTextEncoder,
  {
    changed,
    rewritten = false,
  }: { changed?: (() => string | undefined) | undefined; rewritten?: boolean } = {},
): Check {
  const [own, expected] = [vectorsOf(result), vectorsOf(source)]
  const cosines = own.map((vector, i) => cosine(vector, expected[i]!))
  const least = Math.min(...cosines)
  const bound = cosineBound(result, !rewritten && areLossless(result, source))
  const text = `${cosines.length} texts: least cosine to the vectors of the source ${least.toFixed(6)}`
  const facts = { texts: cosines.length, cosine: least }
  const without = (reason: string): Check => ({
    name: 'logits',
    status: 'unbounded',
    text: `${text}; ${reason}`,
    faults: [],
    facts,
  })
  if (bound.kind === 'none') return without(bound.reason)
  const isNear = least >= bound.least
  const reason = isNear ? undefined : changed?.()
  if (reason !== undefined) return without(reason)
  const faults = isNear
    ? []
    : [`the least cosine is ${least.toFixed(6)}, ${bound.reason} need ${bound.least}`]
  return checkOf('logits', faults, `${text}; at least ${bound.least} for ${bound.reason}`, {
    ...facts,
    bound: bound.least,
  })
}

function vectorsOf(open: OpenTextEncoder): Float32Array[] {
  trimPool()
  return scope(() => sentenceEncoder(open, { resident: false, batchTokens: embeddedTokens }).embed(sentences))
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [product, one, other] = [0, 0, 0]
  for (let i = 0; i < b.length; i++) {
    product += a[i]! * b[i]!
    one += a[i]! ** 2
    other += b[i]! ** 2
  }
  return product / Math.sqrt(one * other)
}
