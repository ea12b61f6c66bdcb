/** What decides the bytes of a result. A run goes on only where all of it is as it was. */
import { createHash } from 'node:crypto'
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { defaultEvaluationText } from '../calibrate/text_samples.ts'
import { defaultShardBytes } from '../formats/safetensors/writer.ts'
import { isFolder } from '../models/load_model.ts'
import type { ResolvedSource } from '../models/source/resolved.ts'
import { printable, StateError } from '../tensor/errors.ts'
import { instructionSet } from '../tensor/index.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { Fingerprint } from './journal_entries.ts'
import { resolvedRecipe } from './recipe_options.ts'
import { version } from './version.ts'

/** SHA-256 of the files one after another, read in pieces. */
export function hashOfFiles(files: readonly string[]): string {
  const hash = createHash('sha256')
  const bytes = new Uint8Array(1 << 20)
  for (const file of files) {
    const descriptor = openSync(file, 'r')
    try {
      for (let count = -1; count !== 0; ) {
        count = readSync(descriptor, bytes)
        hash.update(bytes.subarray(0, count))
      }
    } finally {
      closeSync(descriptor)
    }
  }
  return hash.digest('hex')
}

/** Files that make up a model: itself, or what lies in its folder. @throws SourceError where nothing can be read there */
export const modelFiles = (path: string): string[] => {
  if (!isFolder(path)) return [path]
  const own = filesOf(path)
  // The weights that transformers.js wants in a folder of their own.
  const inner = join(path, 'onnx')
  const isExport = own.every((file) => !/\.(?:safetensors|bin)$/.test(file)) && existsSync(inner)
  return isExport ? [...own, ...filesOf(inner)] : own
}

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map(({ name }) => join(folder, name))
    .filter((file) => statSync(file).isFile())
    .sort()

const hashes = new WeakMap<ResolvedSource, string>()

/** SHA-256 of a source: of the archive that it came in, else of its files, which are read once. */
export function sourceHash({ resolved }: { resolved: ResolvedSource }): string {
  const known = resolved.sha256 ?? hashes.get(resolved) ?? hashOfFiles(modelFiles(resolved.path))
  hashes.set(resolved, known)
  return known
}

/** The fingerprint of a run, with the hashes of all that it reads. @param calibration SHA-256 of the texts */
export const runFingerprint = (
  options: ResolvedCompressOptions,
  source: { resolved: ResolvedSource },
  calibration: string | undefined,
): Fingerprint =>
  fingerprintOf(options, {
    source: sourceHash(source),
    calibration,
    imatrix: options.imatrix === undefined ? undefined : hashOfFiles([options.imatrix]),
    evaluation: options.evaluate ? hashOfFiles(options.text ?? [defaultEvaluationText()]) : undefined,
  })

/** What does not change a byte of the result, or is told by a hash. */
const indifferent = new Set([
  'pare',
  'source',
  'output',
  'overwrite',
  'restart',
  'scratch',
  'offline',
  'probe',
  'calibration.files',
  'imatrix',
  'evaluation.files',
  'limits.maxKl',
  'baselines',
  'speed',
  'verify',
  'limits.maxMemory',
])

/**
 * @param source SHA-256 of the source's files
 * @param calibration SHA-256 of the texts to calibrate with, where there are any
 * @param imatrix SHA-256 of the importance of inputs, where it is given
 * @param evaluation SHA-256 of the texts to evaluate with, where there are any
 */
export function fingerprintOf(
  options: ResolvedCompressOptions,
  hashes: {
    source: string
    calibration: string | undefined
    imatrix?: string | undefined
    evaluation: string | undefined
  },
): Fingerprint {
  const fields: Fingerprint = { version, instructionSet: instructionSet(), source: hashes.source }
  const { evaluation, shardSize, ...recipe } = resolvedRecipe(options)
  addLeaves(fields, '', { ...recipe, ...(evaluation ? { evaluation } : {}) })
  // The default is left out, as runs that began before there was a choice have none.
  if (options.shardSize !== defaultShardBytes) addLeaves(fields, 'shardSize', shardSize)
  if (hashes.calibration) fields['calibration.files'] = hashes.calibration
  if (hashes.imatrix) fields.imatrix = hashes.imatrix
  if (hashes.evaluation) fields['evaluation.files'] = hashes.evaluation
  return fields
}

/** `steps[0].bits` and the like, with the value that stands there. */
function addLeaves(fields: Fingerprint, at: string, value: unknown): void {
  if (value === undefined || indifferent.has(at)) return
  if (typeof value !== 'object' || value === null) {
    fields[at] = value as string | number | boolean | null
    return
  }
  for (const [key, inner] of Object.entries(value)) {
    const place = Array.isArray(value) ? `${at}[${key}]` : at === '' ? key : `${at}.${key}`
    addLeaves(fields, place, inner)
  }
}

/** Refuses where anything differs, and names it. */
export function checkFingerprint(
  before: Fingerprint,
  now: Fingerprint,
  output: string,
  wayOut = 'give --restart to discard it, or name another output',
): void {
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])].filter(
    (name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]),
  )
  if (names.length === 0) return
  const show = (value: unknown) => (value === undefined ? 'not there' : printable(String(value), 40))
  const list = names.map((name) => `${printable(name)} was ${show(before[name])} and is ${show(now[name])}`)
  throw new StateError(`--output: ${printable(output)} holds another run: ${list.join(', ')}; ${wayOut}`, {
    code: 'PARE_E_RUN_DIFFERS',
    facts: { output, fields: names },
  })
}
