/** The checks of a result, in their order: what is cheap and certain comes first. */

import { openModel } from '../../models/load_model.ts'
import type { OpenModel } from '../../models/open_model.ts'
import { printable } from '../../tensor/errors.ts'
import type { RunHooks } from '../evaluate.ts'
import { changedWeights, rewrittenFloats } from './changed_weights.ts'
import { checkConfiguration } from './check_configuration.ts'
import { checkFiles, type KnownFiles, recordFiles } from './check_files.ts'
import { checkLogits } from './check_logits.ts'
import {
  checkTemplate,
  checkTokens,
  recordTemplate,
  recordTokens,
  templateOf,
  tokensOf,
} from './check_tokens.ts'
import { checkVectors } from './check_vectors.ts'
import { checkWeights } from './check_weights.ts'
import { textsVersion } from './fixed_texts.ts'
import type { ValueDigest } from './value_digest.ts'
import { type Check, checkWord, skipped, type Verification, type VerificationRecord } from './verification.ts'

export interface ResultToVerify {
  /** A model on this disk: a folder with config.json, or a GGUF file. */
  path: string
  /** The open source; without it the result is compared with what is known of it. */
  source?: OpenModel | undefined
  /** Digests of the values that were computed, by the name of the weight. @default none */
  digests?: ReadonlyMap<string, ValueDigest> | undefined
  /** What rewrote the source before its weights were compressed, so that no weight is near its own. @default nothing */
  rewrittenBy?: string | undefined
  /** What a report recorded of it. @default nothing */
  record?: VerificationRecord | undefined
  /** The folder whose files are checked or recorded, with the names of the files that it must have. @default none */
  files?: { folder: string; known?: KnownFiles; record?: readonly string[] } | undefined
}

/**
 * Opens a result with the reader that everyone uses and runs every check. What can be read and is wrong is a check that
 * failed.
 *
 * @throws FormatError, SourceError where the result cannot be opened; AbortError when `signal` stops it.
 * @example
 * const { passed, checks } = await verifyResult({ path: 'smaller', source: await loadModel('hf:ORG/NAME') })
 */
export async function verifyResult(task: ResultToVerify, hooks: RunHooks = {}): Promise<Verification> {
  const { path, source, digests, files, rewrittenBy } = task
  // Texts of another version are other texts.
  const known = task.record?.texts === textsVersion ? task.record : undefined
  const show = (share: number, text: string) =>
    hooks.progress?.({ kind: 'progress', phase: 'verify', share, text })
  show(0, 'the files of the result')
  const checks: Check[] = []
  if (files?.known) checks.push(checkFiles(files.folder, files.known))
  const recorded = files?.record ? recordFiles(files.folder, files.record) : []
  const result = openModel(path)
  try {
    const {
      check: weights,
      read,
      computed,
    } = await checkWeights({
      result,
      source: rewrittenBy === undefined ? source : undefined,
      digests,
      signal: hooks.signal,
      progress: (share, name) => show(readingShare * share, name),
    })
    checks.push(
      source && rewrittenBy !== undefined
        ? {
            ...weights,
            text: `${weights.text}; not compared with the source, which ${printable(rewrittenBy)} rewrote`,
          }
        : weights,
    )
    if (source) checks.push(checkConfiguration(result, source))
    const alike = !source || checks.at(-1)!.status === 'passed'
    const logits = !read
      ? { check: skipped('logits', 'not all weights can be read') }
      : !alike
        ? { check: skipped('logits', 'the models differ in what they compute') }
        : await predictions({ result, source, known, computed, rewrittenBy }, afterReading(hooks))
    checks.push(logits.check)
    const tokens = tokensOf(result)
    checks.push(checkTokens(tokens, source && tokensOf(source), known?.tokens))
    const template = templateOf(result)
    checks.push(checkTemplate(template, source && templateOf(source), known?.template))
    const rendered = recordTemplate(template)
    return {
      path,
      passed: checks.every(({ status }) => status !== 'failed'),
      checks,
      record: {
        texts: textsVersion,
        files: recorded,
        ...('ids' in tokens ? { tokens: recordTokens(tokens.ids) } : {}),
        ...(rendered ? { template: rendered } : {}),
        ...('record' in logits && logits.record ? { logits: logits.record } : {}),
      },
    }
  } finally {
    result.close()
  }
}

/** Of the phase: reading every weight; the rest are forwards. */
const readingShare = 0.6

const afterReading = ({ progress, signal }: RunHooks): RunHooks => ({
  signal,
  progress: (event) =>
    progress?.(
      event.kind === 'progress'
        ? { ...event, share: readingShare + (1 - readingShare) * event.share }
        : event,
    ),
})

interface Predicting {
  result: OpenModel
  source: OpenModel | undefined
  known: VerificationRecord | undefined
  /** Weights that have the values that were computed. */
  computed: ReadonlySet<string>
  rewrittenBy: string | undefined
}

/** Logits of a language model; the vectors of a text encoder. */
async function predictions(
  { result, source, known, computed, rewrittenBy }: Predicting,
  hooks: RunHooks,
): Promise<Awaited<ReturnType<typeof checkLogits>>> {
  const changed =
    source &&
    (() =>
      rewrittenBy === undefined
        ? changedWeights(result, source, computed)
        : rewrittenFloats(result, rewrittenBy))
  const rewritten = rewrittenBy !== undefined
  if (result.family === 'llama') {
    const own = source?.family === 'llama' ? source : undefined
    return checkLogits({ result, source: own, recorded: known?.logits, changed, rewritten }, hooks)
  }
  if (source?.family === 'bert') return { check: checkVectors(result, source, { changed, rewritten }) }
  return { check: skipped('logits', 'nothing to compare with; give --source') }
}

/** The lines of a verification: one a check, and one for each thing that is wrong. */
export const verificationLines = ({ checks }: Pick<Verification, 'checks'>): string[] =>
  checks.flatMap((check) => [
    `${check.name.padEnd(13)} ${checkWord(check).padEnd(12)} ${check.text}`,
    ...check.faults.map((fault) => `${''.padEnd(13)} ${''.padEnd(12)} ${fault}`),
  ])

/** What failed, in one sentence. */
export const failureOf = ({ checks }: Pick<Verification, 'checks'>): string =>
  checks
    .filter(({ status }) => status === 'failed')
    .map(({ name, faults }) => `${name}: ${faults[0]}`)
    .join('; ')
