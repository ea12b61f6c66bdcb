/** Whether a result predicts what its source does on 64 fixed tokens, or what it predicted when it was written. */
import { logitDistance, summary, tokenLogits } from '../../metrics/token_logits.ts'
import type { LanguageModel } from '../../models/language_model.ts'
import type { OpenLanguageModel } from '../../models/open_model.ts'
import { PareError } from '../../tensor/errors.ts'
import type { RunHooks } from '../evaluate.ts'
import { areLossless, logitBound } from './bounds.ts'
import { tokenizerOf } from './check_tokens.ts'
import { comparedTokens, passage } from './fixed_texts.ts'
import { type Check, checkOf, type LogitRecord, skipped } from './verification.ts'

/** Largest difference of logits between two machines, of the largest logit: f32 sums in another order. */
const REPEATED = 1e-3

export interface LogitTask {
  result: OpenLanguageModel
  source?: OpenLanguageModel | undefined
  recorded?: LogitRecord | undefined
  /** Why no bound holds where one is not kept: a method changed weights. @default every bound holds */
  changed?: (() => string | undefined) | undefined
  /** The weights of the result are others than those of the source, and compute the same. @default false */
  rewritten?: boolean | undefined
}

/** @returns also what a report keeps of the result's logits */
export async function checkLogits(
  { result, source, recorded, changed, rewritten = false }: LogitTask,
  { progress, signal }: RunHooks,
): Promise<{ check: Check; record?: LogitRecord }> {
  const { vocabulary } = result.model.config
  if (recorded?.ids.some((id) => id >= vocabulary))
    return {
      check: checkOf(
        'logits',
        ['the report names tokens that the model does not have'],
        'another vocabulary',
      ),
    }
  if (source && source.model.config.vocabulary !== vocabulary)
    return { check: skipped('logits', 'the vocabularies differ') }
  const ids = !source && recorded ? Uint32Array.from(recorded.ids) : fixedTokens(source ?? result)
  const step = (from: number, whose: string) => (share: number) =>
    progress?.({
      kind: 'progress',
      phase: 'verify',
      share: from + share * (source ? 0.5 : 1),
      text: `logits of ${whose}`,
    })
  const logitsOf = (model: LanguageModel, from: number, whose: string) =>
    tokenLogits(model, ids, { signal, progress: step(from, whose) })
  const own = await logitsOf(result.model, 0, 'the result')
  if (!own.every(Number.isFinite))
    return { check: checkOf('logits', ['the model computes logits that are not finite'], 'not finite') }
  const record = recordLogits(own, ids, vocabulary)
  if (source) {
    const expected = await logitsOf(source.model, 0.5, 'the source')
    const check = compare(own, expected, { result, source, changed, rewritten })
    // What no bound holds for is still what the report knows.
    const isKnown = check.status === 'unbounded' && recorded && String(recorded.ids) === String(record.ids)
    const repeated = isKnown ? checkRepeated(record, recorded) : undefined
    return { check: repeated?.status === 'failed' ? repeated : check, record }
  }
  return {
    check: recorded
      ? checkRepeated(record, recorded)
      : skipped('logits', 'nothing to compare with; give --source'),
    record,
  }
}

/** The fixed passage in a model's tokens; ids all over the vocabulary where it has no tokenizer that can be read. */
export function fixedTokens(open: OpenLanguageModel): Uint32Array {
  const { vocabulary, context } = open.model.config
  const most = Math.min(comparedTokens, context)
  let ids: Uint32Array = new Uint32Array(0)
  try {
    ids = tokenizerOf(open)?.encode(passage).subarray(0, most) ?? ids
  } catch (error) {
    // The check of tokens tells of it.
    if (!(error instanceof PareError)) throw error
  }
  if (ids.length > 0 && ids.every((id) => id < vocabulary)) return ids
  return Uint32Array.from({ length: most }, (_, i) => (i * 7919 + 13) % vocabulary)
}

function compare(
  own: Float32Array,
  expected: Float32Array,
  { result, source, changed, rewritten }: LogitTask & { source: OpenLanguageModel },
): Check {
  const { vocabulary } = result.model.config
  const { largest, kl, top1, relative } = logitDistance(own, expected, vocabulary)
  const bound = logitBound(result, !rewritten && areLossless(result, source))
  const tokens = expected.length / vocabulary
  const figures = `${tokens} tokens: largest difference ${percent(largest)} of the largest logit, spread ${percent(relative)}, KL ${kl.toPrecision(3)} nats, same top ${percent(top1)}`
  const facts = { tokens, largest, relative, kl, top1 }
  const without = (reason: string): Check => ({
    name: 'logits',
    status: 'unbounded',
    text: `${figures}; ${reason}`,
    faults: [],
    facts,
  })
  if (bound.kind === 'none') return without(bound.reason)
  const found = bound.kind === 'largest' ? largest : relative
  const what = bound.kind === 'largest' ? 'the largest difference' : 'the spread of the difference'
  // NaN is above no bound, and never passes.
  const isNear = found <= bound.most
  const reason = isNear ? undefined : changed?.()
  if (reason !== undefined) return without(reason)
  const faults = isNear ? [] : [`${what} is ${percent(found)}, ${bound.reason} allow ${percent(bound.most)}`]
  return checkOf('logits', faults, `${figures}; at most ${percent(bound.most)} for ${bound.reason}`, {
    ...facts,
    bound: bound.most,
  })
}

function recordLogits(logits: Float32Array, ids: Uint32Array, vocabulary: number): LogitRecord {
  const rows = Array.from(ids, (_, row) => logits.subarray(row * vocabulary, (row + 1) * vocabulary))
  const tops = rows.map(summary)
  let largest = 0
  for (const logit of logits) largest = Math.max(largest, Math.abs(logit))
  return {
    ids: [...ids],
    largest,
    top: tops.map(({ top }) => top),
    topLogits: rows.map((row, i) => row[tops[i]!.top]!),
    logSums: tops.map(({ logSum }) => Number(logSum.toPrecision(9))),
  }
}

/** Tokens whose logits are nearly equal may change places, so that only values are compared. */
function checkRepeated(found: LogitRecord, recorded: LogitRecord): Check {
  const furthest = (a: readonly number[], b: readonly number[]) =>
    a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)
  const difference =
    Math.max(furthest(found.topLogits, recorded.topLogits), furthest(found.logSums, recorded.logSums)) /
    (recorded.largest || 1)
  const faults =
    difference <= REPEATED
      ? []
      : [
          `differ by ${percent(difference)} of the largest logit from those of the report, rounding allows ${percent(REPEATED)}`,
        ]
  return checkOf(
    'logits',
    faults,
    `${found.ids.length} tokens: within ${percent(difference)} of the largest logit of what the report knows`,
    { tokens: found.ids.length, repeated: difference },
  )
}

const percent = (share: number): string =>
  Number.isFinite(share) ? `${(100 * share).toPrecision(3)}%` : String(share)
