/**
 * Checkpoints: one safetensors file each, with the tensors of a training by path and the rest as JSON in its metadata.
 * A file appears whole or not at all; older ones are removed only after a newer one stands.
 *
 *   step-000000500.safetensors    metadata: format pare-training, version 1, position, run, seconds, and the SHA-256 of
 *                                 the numbers, so that a bit which turned is found
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { disk } from '../formats/disk.ts'
import { isUnfinished } from '../formats/output.ts'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { type DType, sizeOf } from '../tensor/dtype.ts'
import { FormatError, OptionError, printable, StateError } from '../tensor/errors.ts'
import { updateInSlices } from '../tensor/hash_slices.ts'
import { dispose, fromBytes, type Tensor } from '../tensor/index.ts'
import type { TrainerPosition } from './trainer.ts'

/** Code of the error for a checkpoint that cannot be read, where another one may serve. */
export const damagedCheckpoint = 'PARE_E_CHECKPOINT'

const FORMAT = 'pare-training'
const VERSION = 1

const typeNames = {
  f32: 'F32',
  f64: 'F64',
  bf16: 'BF16',
  f16: 'F16',
  u8: 'U8',
  u16: 'U16',
  u32: 'U32',
  u64: 'U64',
  i8: 'I8',
  i16: 'I16',
  i32: 'I32',
  bool: 'BOOL',
} as const satisfies Record<DType, string>

export interface Checkpoint {
  readonly path: string
  /** Of `Trainer.state`; they belong to the caller. */
  readonly tensors: Record<string, Tensor>
  readonly position: TrainerPosition
  /** Of work, over all sittings before. */
  readonly seconds: number
}

/** Writes a checkpoint, and then removes all but the last `keep`. @returns its path */
export function writeCheckpoint(
  folder: string,
  tensors: Readonly<Record<string, Tensor>>,
  position: TrainerPosition,
  { run, keep = 2, seconds = 0 }: { run: unknown; keep?: number; seconds?: number },
): string {
  if (!(Number.isSafeInteger(keep) && keep >= 1))
    throw new OptionError(`keep: needs a whole number of checkpoints from 1 on, got ${keep}`)
  if (!existsSync(folder)) disk().makeFolder(folder)
  const path = join(folder, `step-${String(position.step).padStart(9, '0')}.safetensors`)
  const infos = Object.entries(tensors).map(([name, { dtype, shape }]) => ({
    name,
    shape,
    type: typeNames[dtype],
  }))
  const writer = createSafetensors(path, infos, {
    metadata: {
      format: FORMAT,
      version: String(VERSION),
      position: JSON.stringify(position),
      run: JSON.stringify(run),
      seconds: String(seconds),
      sha256: sumOf(tensors),
    },
  })
  for (const [name, tensor] of Object.entries(tensors)) writer.append(name, tensor.bytes())
  writer.finish()
  for (const old of checkpointsIn(folder).slice(0, -keep)) disk().remove(old)
  return path
}

/** SHA-256 of all numbers, by name: they may stand in another order in the file. */
function sumOf(tensors: Readonly<Record<string, Tensor>>): string {
  const sum = createHash('sha256')
  for (const name of Object.keys(tensors).sort()) updateInSlices(sum, tensors[name]!.bytes())
  return sum.digest('hex')
}

/** Checkpoints of a folder, the oldest first. */
export function checkpointsIn(folder: string): string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => /^step-\d{9,}\.safetensors$/.test(name))
    .sort()
    .map((name) => join(folder, name))
}

/** Removes what a process left that ended while it wrote. */
export function removeUnfinished(folder: string): void {
  if (!existsSync(folder)) return
  for (const name of readdirSync(folder)) if (isUnfinished(name)) disk().remove(join(folder, name))
}

/**
 * Reads a checkpoint of this run.
 *
 * @param run what must be the same: the recipe with its data, as JSON can hold it
 * @throws StateError where the file is no checkpoint, is damaged, of a newer version, or of another run: then the fields
 * that differ are named
 */
export function readCheckpoint(path: string, run: unknown): Checkpoint {
  const damaged = (why: string) =>
    new StateError(
      `${printable(path)}: ${why}; restore it, name another output, or give --restart to begin anew`,
      { code: damagedCheckpoint, facts: { path, why } },
    )
  let archive: ReturnType<typeof openSafetensors>
  try {
    archive = openSafetensors(path)
  } catch (error) {
    throw error instanceof FormatError ? damaged(`is damaged (${error.message})`) : error
  }
  const tensors: Record<string, Tensor> = Object.create(null)
  try {
    const { metadata } = archive
    if (metadata.get('format') !== FORMAT) throw damaged('is no checkpoint of a training')
    const version = Number(metadata.get('version'))
    if (!(version >= 1)) throw damaged('has no version')
    if (version > VERSION)
      throw new StateError(
        `${printable(path)}: is of version ${version}, this Pare reads up to ${VERSION}; go on with the newer one`,
        { code: 'PARE_E_CHECKPOINT_VERSION', facts: { path, version } },
      )
    const [position, saved] = ['position', 'run'].map((key) => parsed(metadata.get(key), damaged))
    checkSameRun(path, saved, run)
    for (const { name, shape, type, bytes } of archive.tensors.values()) {
      const dtype = (Object.keys(typeNames) as DType[]).find((known) => typeNames[known] === type)
      if (!dtype || bytes !== shape.reduce((a, b) => a * b, sizeOf(dtype)))
        throw damaged(`holds ${printable(name)} in a type that no state has`)
      tensors[name] = fromBytes(archive.read(name), shape, dtype)
    }
    if (sumOf(tensors) !== metadata.get('sha256')) throw damaged('is damaged (its numbers have another sum)')
    const seconds = Number(metadata.get('seconds'))
    if (!(seconds >= 0)) throw damaged('holds a time that is none')
    return { path, tensors, position: checkedPosition(position, damaged), seconds }
  } catch (error) {
    dispose(Object.values(tensors))
    throw error instanceof FormatError ? damaged(`is damaged (${error.message})`) : error
  } finally {
    archive.close()
  }
}

function parsed(text: string | undefined, damaged: (why: string) => Error): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    throw damaged('holds a position that is no JSON')
  }
}

function checkedPosition(value: unknown, damaged: (why: string) => Error): TrainerPosition {
  const { step, skippedInRow, seed, streams } = (value ?? {}) as Partial<TrainerPosition>
  const whole = [step, skippedInRow, seed].every((n) => Number.isSafeInteger(n))
  if (!whole || step! < 0 || !Array.isArray(streams)) throw damaged('holds a position that is none')
  return value as TrainerPosition
}

/** @throws StateError with the fields that differ. @param path what `saved` was read from */
export function checkSameRun(path: string, saved: unknown, asked: unknown, what = 'a checkpoint'): void {
  const differing = fieldsThatDiffer(saved, JSON.parse(JSON.stringify(asked ?? null)))
  if (differing.length === 0) return
  const shown = differing.slice(0, 8).map(([field, a, b]) => `${field} was ${a}, is ${b}`)
  throw new StateError(
    `${printable(path)}: is ${what} of another recipe (${shown.join('; ')}); restore it, name another output, or give --restart`,
    { code: 'PARE_E_OTHER_RUN', facts: { path, fields: differing.map(([field]) => field) } },
  )
}

function fieldsThatDiffer(a: unknown, b: unknown, at = ''): [field: string, a: string, b: string][] {
  if (JSON.stringify(a) === JSON.stringify(b)) return []
  const isRecord = (x: unknown): x is Record<string, unknown> => typeof x === 'object' && x !== null
  if (!isRecord(a) || !isRecord(b)) {
    const shown = (x: unknown) => printable(JSON.stringify(x) ?? 'nothing', 60)
    return [[at === '' ? 'the recipe' : at, shown(a), shown(b)]]
  }
  const keys = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...keys].flatMap((key) => fieldsThatDiffer(a[key], b[key], at === '' ? key : `${at}.${key}`))
}
