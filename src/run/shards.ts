/**
 * What a run keeps of a finished stage: its weights as the bytes of the target's file, and the activations that the
 * next stage begins with. Both are safetensors, so that other programs can look into them.
 */
import { statSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Chains } from '../calibrate/walk.ts'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import type { EncodedTensor, StoredTensor } from '../models/write/model_writer.ts'
import { type DType, sizeOf } from '../tensor/dtype.ts'
import { FormatError, printable, StateError } from '../tensor/errors.ts'
import { fromBytes, scope } from '../tensor/index.ts'
import { hashOfFiles } from './fingerprint.ts'
import type { StageEntry } from './journal_entries.ts'

const metadata = { format: 'pare-stage', version: '1' }

/** Writes the weights of a stage; they are on the disk when it returns. */
export function writeShard(path: string, tensors: readonly EncodedTensor[]): StageEntry['shard'] {
  const infos = tensors.map(({ name, bytes }) => ({ name, type: 'U8', shape: [bytes.length] }))
  const writer = createSafetensors(path, infos, { metadata })
  for (const { name, bytes } of tensors) writer.append(name, bytes)
  writer.finish()
  return { name: basename(path), bytes: sizeOfFile(path), sha256: hashOfFiles([path]) }
}

/** The tensors of a shard, one after another. @throws StateError where it is not what the journal says. */
export function* readShard(
  path: string,
  entry: StageEntry['shard'],
  stored: readonly StoredTensor[],
): Iterable<EncodedTensor> {
  if (sizeOfShard(path) !== entry.bytes || hashOfFiles([path]) !== entry.sha256) throw damagedShard(path)
  const archive = openShard(path)
  try {
    for (const { name, bytes } of stored) {
      if (archive.tensors.get(name)?.bytes !== bytes) throw damagedShard(path)
      yield { name, bytes: archive.read(name) }
    }
  } finally {
    archive.close()
  }
}

/** Shards of the sizes that the journal says, before hours of work that would come to nothing. @throws StateError */
export function checkShardSizes(folder: string, stages: readonly StageEntry[]): void {
  for (const { shard } of stages) {
    const path = join(folder, shard.name)
    if (sizeOfShard(path) !== shard.bytes) throw damagedShard(path)
  }
}

/** Types as safetensors names them, for what a chain can hold. */
const typeNames: Partial<Record<DType, string>> = { f32: 'F32', f64: 'F64', bf16: 'BF16' }

/** Writes the activations before a stage; they are on the disk when it returns. */
export function writeInputs(path: string, chains: Chains): NonNullable<StageEntry['inputs']> {
  const parts = [...partsOf(chains)]
  const infos = parts.map(({ name, shape, dtype }) => ({ name, shape, type: typeNames[dtype]! }))
  const writer = createSafetensors(path, infos, { metadata })
  for (const { name, set, sample } of parts)
    scope(() => writer.append(name, set.read(sample, 'hidden').bytes()))
  writer.finish()
  return { name: basename(path), bytes: sizeOfFile(path) }
}

/** Reads them back. @throws StateError where they are not those of `batches` batches. */
export function readInputs(
  path: string,
  entry: NonNullable<StageEntry['inputs']>,
  batches: number,
  chains: Chains,
): void {
  if (sizeOfShard(path) !== entry.bytes) throw damagedShard(path)
  const archive = openShard(path)
  try {
    for (const [chain, set] of Object.entries(chains)) {
      for (let sample = 0; set && sample < batches; sample++) {
        const info = archive.tensors.get(`${chain}/${sample}`)
        const dtype = (Object.keys(typeNames) as DType[]).find((name) => typeNames[name] === info?.type)
        if (!info || !dtype || info.bytes !== info.shape.reduce((a, b) => a * b, sizeOf(dtype)))
          throw damagedShard(path)
        scope(() => set.write(sample, 'hidden', fromBytes(archive.read(info.name), info.shape, dtype)))
      }
    }
  } catch (error) {
    throw error instanceof FormatError ? damagedShard(path) : error
  } finally {
    archive.close()
  }
}

function* partsOf(chains: Chains) {
  for (const [chain, set] of Object.entries(chains) as [keyof Chains, Chains['dense']][]) {
    for (const { sample, name, shape, dtype } of set?.entries() ?? [])
      if (name === 'hidden') yield { name: `${chain}/${sample}`, set: set!, sample, shape, dtype }
  }
}

const sizeOfFile = (path: string): number => statSync(path).size

/** Nothing where there is no such file. */
const sizeOfShard = (path: string): number | undefined => {
  const status = statSync(path, { throwIfNoEntry: false })
  return status?.isFile() ? status.size : undefined
}

/** @throws StateError where the file is none, since the run and not the model is damaged */
function openShard(path: string): ReturnType<typeof openSafetensors> {
  try {
    return openSafetensors(path)
  } catch (error) {
    throw error instanceof FormatError ? damagedShard(path) : error
  }
}

const damagedShard = (path: string) =>
  new StateError(
    `${printable(path)}: is not what the journal says; give --restart to discard this run, or name another output`,
    { code: 'PARE_E_SHARD', facts: { path } },
  )
