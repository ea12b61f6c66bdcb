/**
 * `report.json` on the disk. Version 1; later versions of Pare read it. Fields may be added without a new version, so
 * that readers leave alone what they do not know; a field that goes or changes its meaning makes a new one.
 */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { strictJson } from '../formats/json.ts'
import { PareError, printable, StateError } from '../tensor/errors.ts'
import type { CompressionReport } from './report.ts'

export const reportVersion = 1
export const reportName = 'report.json'

/** More bytes than a report of any model has. */
const LONGEST = 256 << 20

const count = z.number().nonnegative()
const modelSpeed = z.looseObject({
  prefill: count,
  decode: count,
  form: z.string(),
  packed: count,
  weightBytes: count,
  contextBytes: count,
})
/** What readers of a report take for granted. */
const schema = z.looseObject({
  // Reports of Pare before it had a first release have none.
  reportVersion: z.int().min(1).max(reportVersion).optional(),
  source: z.string(),
  output: z.string(),
  method: z.string(),
  target: z.string(),
  format: z.string().optional(),
  programs: z.array(z.looseObject({ name: z.string(), version: z.string() })).optional(),
  bytes: count,
  bytesSource: count,
  bitsPerWeight: count,
  fileBitsPerWeight: count,
  seconds: count,
  peakMemoryBytes: count,
  layers: z.array(
    z.looseObject({
      name: z.string(),
      bits: count,
      relativeError: count,
      relativeErrorRtn: count.optional(),
      notes: z.array(z.string()),
    }),
  ),
  files: z.array(z.string()),
  transforms: z.array(z.looseObject({ method: z.string() })).optional(),
  notes: z.array(z.string()),
  version: z.string(),
  perplexity: z.number().optional(),
  perplexitySource: z.number().optional(),
  kl: z.number().optional(),
  kl99: z.number().optional(),
  top1: z.number().optional(),
  tokens: count.optional(),
  protocol: z.string().optional(),
  embeddings: z.looseObject({ meanCosine: z.number(), leastCosine: z.number(), texts: count }).optional(),
  speed: z.looseObject({ machine: z.string(), source: modelSpeed, result: modelSpeed }).optional(),
})

/** The text of the file. */
export const reportText = (report: CompressionReport): string =>
  `${JSON.stringify({ ...report, reportVersion }, null, 2)}\n`

/**
 * The report in the folder of a result.
 *
 * @throws StateError (exit 3) where it is missing, damaged, or of a newer version.
 * @example const { perplexity, layers } = readReport('smaller')
 */
export function readReport(folder: string): CompressionReport {
  const path = join(folder, reportName)
  const failed = (what: string, code: string, cause?: unknown) =>
    new StateError(`${printable(path)}: ${what}`, { code, facts: { path }, cause })
  const damaged = (cause?: unknown) =>
    failed('is no whole report; compress again with --restart, which writes it', 'PARE_E_REPORT', cause)
  let value: unknown
  try {
    const status = statSync(path)
    if (!status.isFile() || status.size > LONGEST) throw damaged()
    value = strictJson(path, readFileSync(path, 'utf8'))
  } catch (cause) {
    if (cause instanceof StateError) throw cause
    if (cause instanceof PareError || (cause as NodeJS.ErrnoException).code === 'ENOENT') throw damaged(cause)
    throw failed(
      `cannot be read (${(cause as NodeJS.ErrnoException).code}); check its permissions`,
      'PARE_E_CANNOT_READ',
      cause,
    )
  }
  const found = (value as { reportVersion?: unknown } | null)?.reportVersion
  if (Number.isSafeInteger(found) && (found as number) > reportVersion)
    throw failed(
      `has version ${found} of reports, and this Pare reads up to ${reportVersion}; use a newer Pare`,
      'PARE_E_NEWER_FILE',
    )
  const { success, error } = schema.safeParse(value)
  if (!success) throw damaged(error)
  return value as CompressionReport
}
