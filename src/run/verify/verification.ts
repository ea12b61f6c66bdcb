/** What a verification finds, and what a report keeps of it for the next one. The field names are stable. */
import { z } from 'zod'

export type CheckName = 'files' | 'weights' | 'configuration' | 'logits' | 'tokens' | 'template'

export interface Check {
  name: CheckName
  /**
   * `unbounded`: it was compared, but at so few bits nothing tells damage from what compression loses. `skipped`: there
   * was nothing to compare with, as `text` says.
   */
  status: 'passed' | 'failed' | 'unbounded' | 'skipped'
  /** One line for people. */
  text: string
  /** What is wrong, a line each; of many the first ones. */
  faults: readonly string[]
  /** The figures of `text`. */
  facts: Readonly<Record<string, number | string>>
}

/** What a report keeps of a result, so that it can be verified without its source. */
export interface VerificationRecord {
  /** Of the texts that were read. */
  texts: number
  /** Files of the result, without the report itself. */
  files: readonly { name: string; bytes: number; sha256: string }[]
  tokens?: TokenRecord
  template?: TemplateRecord
  logits?: LogitRecord
}

export interface TokenRecord {
  count: number
  /** Of the ids as little-endian u32. */
  sha256: string
}

export interface TemplateRecord {
  /** Of the rendered conversation in UTF-8; absent where the model has no template. */
  sha256?: string
}

/** The logits of the result itself. */
export interface LogitRecord {
  ids: readonly number[]
  /** Largest magnitude of them all. */
  largest: number
  /** After each token: the most likely one, its logit, and the logarithm of the sum of all exponentials. */
  top: readonly number[]
  topLogits: readonly number[]
  logSums: readonly number[]
}

export interface Verification {
  /** The folder or file. */
  path: string
  /** What it was compared with. */
  source?: string
  /** Whether no check failed. */
  passed: boolean
  checks: readonly Check[]
  record: VerificationRecord
}

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const id = z.int().nonnegative().max(0xffffffff)
const count = z.int().nonnegative()

/** The record as `report.json` has it. */
export const recordSchema = z.looseObject({
  texts: count,
  files: z.array(z.looseObject({ name: z.string().max(255), bytes: count, sha256 })).max(100_000),
  tokens: z.looseObject({ count, sha256 }).optional(),
  template: z.looseObject({ sha256: sha256.optional() }).optional(),
  logits: z
    .looseObject({
      ids: z.array(id).min(1).max(4096),
      largest: z.number().nonnegative(),
      top: z.array(id).max(4096),
      topLogits: z.array(z.number()).max(4096),
      logSums: z.array(z.number()).max(4096),
    })
    .refine((logits) =>
      [logits.top, logits.topLogits, logits.logSums].every((list) => list.length === logits.ids.length),
    )
    .optional(),
})

/** Faults that are listed. */
const MOST_FAULTS = 8

/** A check that compared something; `faults` decides how it went. */
export function checkOf(
  name: CheckName,
  faults: readonly string[],
  text: string,
  facts: Check['facts'] = {},
): Check {
  const rest = faults.length - MOST_FAULTS
  return {
    name,
    status: faults.length > 0 ? 'failed' : 'passed',
    text,
    faults: rest > 0 ? [...faults.slice(0, MOST_FAULTS), `and ${rest} more`] : faults,
    facts,
  }
}

export const skipped = (name: CheckName, text: string): Check => ({
  name,
  status: 'skipped',
  text,
  faults: [],
  facts: {},
})

const words: Readonly<Record<Exclude<Check['status'], 'passed'>, string>> = {
  failed: 'FAILED',
  unbounded: 'no bound',
  skipped: 'skipped',
}

/** How a check went, for people; of a later version's report as it stands there. */
export function checkWord({
  name,
  status,
  facts = {},
}: Pick<Check, 'name' | 'status'> & Partial<Pick<Check, 'facts'>>): string {
  if (status !== 'passed') return Object.hasOwn(words, status) ? words[status] : status
  if (name === 'logits') return 'within bound'
  if (name !== 'weights') return 'same'
  const { digests, compared, equal } = facts
  if (digests !== undefined) return 'as computed'
  if (compared === undefined) return 'read only'
  return compared === equal ? 'same' : 'within bound'
}

/** Whether a verification had nothing to compare with, so that it says no more than that the weights can be read. */
export const comparedNothing = ({ checks }: Pick<Verification, 'checks'>): boolean =>
  checks.every((check) => check.status === 'skipped' || checkWord(check) === 'read only')
