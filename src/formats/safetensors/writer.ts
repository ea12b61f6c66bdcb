/** Writes safetensors as the reference does: wide types first, then by name; the header ends on a multiple of 8. */
import { join } from 'node:path'
import { OptionError, printable } from '../../tensor/errors.ts'
import { type ArchiveWriter, elementCount, type TensorInfo } from '../archive.ts'
import { createOutput, writeWhole } from '../output.ts'
import { type PlacedFile, placedWriter } from '../placed_writer.ts'
import { dtypeBytes } from './dtypes.ts'
import { layOut } from './header.ts'
import { INDEX_FILE, SINGLE_FILE } from './safetensors.ts'

export interface SafetensorsOptions {
  /** Strings for `__metadata__`; transformers looks for `format`. @default { format: 'pt' } */
  metadata?: Readonly<Record<string, string>>
}

export interface ShardedOptions extends SafetensorsOptions {
  /** Bytes of tensors in one file; a larger tensor gets a file of its own. @default 5e9 */
  maxShardBytes?: number
}

const standardMetadata = { format: 'pt' }
/** 5 GB. */
export const defaultShardBytes = 5e9

/**
 * Starts one file. Tensors may come in any order and in parts: their places are known from the start.
 *
 * @throws OptionError if a type or shape cannot be stored, or a name stands twice.
 * @example
 * const writer = createSafetensors('model.safetensors', [{ name: 'w', type: 'F32', shape: [1] }])
 * writer.append('w', new Uint8Array(new Float32Array([1]).buffer))
 * writer.finish()
 */
export function createSafetensors(
  path: string,
  tensors: readonly TensorInfo[],
  { metadata = standardMetadata }: SafetensorsOptions = {},
): ArchiveWriter {
  checkTensors(tensors)
  return writeFiles([{ path, tensors }], metadata)
}

/** A tensor stays whole. */
const smallerShards =
  'write smaller shards with --shard-size, raise the limit (ulimit -f), or write to another file system'

/** The files that a folder's worth of tensors takes. */
export interface ShardLayout {
  /** Names inside of the folder, with the tensors and the size of each. */
  files: readonly { name: string; tensors: readonly TensorInfo[]; bytes: number }[]
  /** Content of `model.safetensors.index.json`, where there is more than one file. */
  index?: string
}

/**
 * What `createShardedSafetensors` writes, to the byte.
 *
 * @throws OptionError as that does.
 * @example layOutShards(tensors, { maxShardBytes: 2e9 }).files.map(({ bytes }) => bytes)
 */
export function layOutShards(
  tensors: readonly TensorInfo[],
  { metadata = standardMetadata, maxShardBytes = defaultShardBytes }: ShardedOptions = {},
): ShardLayout {
  if (!(maxShardBytes > 0))
    throw new OptionError(`maxShardBytes must be above 0, got ${maxShardBytes}; 5e9 is usual`, {
      facts: { maxShardBytes },
    })
  checkTensors(tensors)
  const shards = dealOut(tensors, maxShardBytes)
  const files = shards.map((shard, i) => ({
    name:
      shards.length === 1 ? SINGLE_FILE : `model-${padded(i + 1)}-of-${padded(shards.length)}.safetensors`,
    tensors: shard,
    bytes: layOut(shard, metadata).size,
  }))
  if (files.length === 1) return { files }
  const weightMap = files.flatMap(({ name, tensors: own }) =>
    own.map((tensor) => [tensor.name, name] as const),
  )
  const index = {
    metadata: { total_size: tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0) },
    weight_map: Object.fromEntries(weightMap),
  }
  return { files, index: `${JSON.stringify(index, null, 2)}\n` }
}

/**
 * Starts a folder's worth: `model.safetensors`, or `model-00001-of-0000K.safetensors` with an index when the
 * tensors need more than one file. They are dealt to the files in the order given. The index comes last.
 *
 * @example createShardedSafetensors('out', tensors, { maxShardBytes: 2e9 })
 */
export function createShardedSafetensors(
  folder: string,
  tensors: readonly TensorInfo[],
  { metadata = standardMetadata, maxShardBytes }: ShardedOptions = {},
): ArchiveWriter {
  const { files, index } = layOutShards(tensors, {
    metadata,
    ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
  })
  const writer = writeFiles(
    files.map(({ name, tensors: own }) => ({
      ...{ path: join(folder, name), tensors: own },
      ...(own.length > 1 ? { whenTooLarge: smallerShards } : {}),
    })),
    metadata,
  )
  return {
    ...writer,
    finish() {
      writer.finish()
      if (index !== undefined) writeWhole(join(folder, INDEX_FILE), index)
    },
  }
}

const padded = (n: number) => String(n).padStart(5, '0')
const bytesOf = ({ type, shape }: TensorInfo) => dtypeBytes(type, elementCount(shape)!)!

function dealOut(tensors: readonly TensorInfo[], limit: number): TensorInfo[][] {
  const shards: TensorInfo[][] = [[]]
  let used = 0
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor)
    if (used > 0 && used + bytes > limit) {
      shards.push([])
      used = 0
    }
    shards.at(-1)!.push(tensor)
    used += bytes
  }
  return shards
}

function checkTensors(tensors: readonly TensorInfo[]): void {
  const names = new Set<string>()
  for (const { name, type, shape } of tensors) {
    const facts = { tensor: name, type, shape: [...shape] }
    if (name === '__metadata__' || names.has(name))
      throw new OptionError(`${printable(name)}: the name is taken; each tensor needs its own`, {
        code: 'PARE_E_DUPLICATE',
        facts,
      })
    names.add(name)
    const count = elementCount(shape)
    if (count === undefined || dtypeBytes(type, count) === undefined)
      throw new OptionError(
        `${printable(name)}: safetensors cannot store shape [${shape}] of type ${printable(type)}; choose one of its types and a size in whole bytes`,
        { code: 'PARE_E_SAFETENSORS_TENSOR', facts },
      )
  }
}

function writeFiles(
  files: readonly { path: string; tensors: readonly TensorInfo[]; whenTooLarge?: string }[],
  metadata: Readonly<Record<string, string>>,
): ArchiveWriter {
  const placed: PlacedFile[] = []
  try {
    for (const { path, tensors: own, ...ways } of files) {
      const { head, tensors, size } = layOut(own, metadata)
      const output = createOutput(path, { expectedBytes: size, ...ways })
      placed.push({ output, tensors })
      output.write(head)
    }
  } catch (error) {
    for (const { output } of placed) output.abort()
    throw error
  }
  return placedWriter(placed)
}
