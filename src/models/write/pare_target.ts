/**
 * Writes a Pare folder: config and tokenizer as in a Hugging Face folder, weights in safetensors, and pare.json,
 * which says how each compressed weight is put together.
 *
 *   NAME.codes    U32 [out, words]   codes of a row as one little-endian bit stream, padded to words
 *   NAME.scales   F16 [out, groups]
 *   NAME.zeros    U32 [out, words]   as codes; absent on symmetric grids
 *   NAME.group_of I32 [in]           absent where groups are neighbours
 *   NAME.blocks   U8 [out, bytes]    rows of a ggml block type
 */
import { join } from 'node:path'
import type { TensorInfo } from '../../formats/archive.ts'
import { packRows, rowWords } from '../../formats/bit_stream.ts'
import { writeWhole } from '../../formats/output.ts'
import { type PareWeight, pareFolderVersion } from '../../formats/pare_folder.ts'
import { createShardedSafetensors, layOutShards } from '../../formats/safetensors/writer.ts'
import { type BlockTypeName, isCodedType, rowBytes, typeForRow } from '../../nn/block_types.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import { type AffineGrid, type Grid, type GridSource, gridName, groupWidth } from '../../nn/grid.ts'
import { bytesOf, scope, type Tensor } from '../../tensor/index.ts'
import { asType, type FolderSource, json, plainType } from './folder_source.ts'
import type { EncodedTensor, ModelWriter, TargetPlan } from './model_writer.ts'
import { type Sharding, shardNotes } from './sharding.ts'
import { keptNumbers, type TensorChoices } from './tensor_choice.ts'
import { roleOf, type TensorPlan } from './tensor_plan.ts'

export interface PareTargetOptions extends Sharding {
  grid: AffineGrid
  /** Groups of sorted columns need to be named. */
  groupsSorted: boolean
  /** Type of the embedding and the head. @default 'F16', or BF16 where the source has it */
  embedding?: BlockTypeName | undefined
  /** What is asked for single tensors. */
  choices?: TensorChoices
}

export function planPare(source: FolderSource, options: PareTargetOptions): TargetPlan {
  const tensors = [...source.infos.values()].map((info): TensorPlan => {
    const { name, shape } = info
    const role = roleOf(info, source.matrices)
    const base = { name, shape, role, sourceType: info.type, kept: false }
    const planned = (type: string, grid: Grid | undefined, note?: string): TensorPlan => {
      const plan = { ...base, type, ...(grid ? { grid } : {}), ...(note ? { note } : {}) }
      return {
        ...plan,
        bytes: storedTensors({ ...plan, bytes: 0 }, options).reduce((sum, t) => sum + bytesIn(t), 0),
      }
    }
    const choice = options.choices?.get(name)
    if (choice?.keep) return { ...base, ...keptNumbers(info, choice.by, 'a Pare folder') }
    const grid = choice?.grid ?? (role === 'matrix' && !choice?.scheme ? options.grid : undefined)
    if (grid) return planned(gridName(grid), grid)
    const asked = choice?.scheme ?? options.embedding ?? plainType(info.type)
    if (role === 'vector') return planned(plainType(info.type), undefined)
    const type = typeForRow(asked, shape[1]!)
    const note = type === asked ? undefined : `${asked} does not divide rows of ${shape[1]}`
    return planned(type, isCodedType(type) ? { kind: 'blocks', type } : undefined, note)
  })
  const infos = tensors.flatMap((plan) => storedTensors(plan, options))
  const shards = layOutShards(infos, options)
  return {
    target: 'pare',
    tensors,
    fileBytes: shards.files.reduce((sum, { bytes }) => sum + bytes, 0),
    alignment: 1,
    notes: shardNotes(shards),
    stored: (plan) => storedTensors(plan, options).map((info) => ({ name: info.name, bytes: bytesIn(info) })),
    ...encoders(options),
    check: () => void source.companions(),
    create: (folder) => pareWriter(folder, source, tensors, infos, options),
  }
}

const itemBytes: Readonly<Record<string, number>> = { U32: 4, I32: 4, F16: 2, BF16: 2, F32: 4, U8: 1 }
const bytesIn = ({ type, shape }: TensorInfo) => itemBytes[type]! * shape.reduce((a, b) => a * b, 1)

/** The tensors that a weight takes in the file. */
function storedTensors(
  { name, shape, type, grid }: TensorPlan,
  { groupsSorted }: PareTargetOptions,
): TensorInfo[] {
  if (!grid) return [{ name, type, shape }]
  const [rows, columns] = shape as [number, number]
  if (grid.kind === 'blocks')
    return [{ name: `${name}.blocks`, type: 'U8', shape: [rows, rowBytes(grid.type, columns)] }]
  const groups = Math.ceil(columns / groupWidth(grid, columns))
  return [
    { name: `${name}.codes`, type: 'U32', shape: [rows, rowWords(columns, grid.bits)] },
    { name: `${name}.scales`, type: grid.scaleType === 'f16' ? 'F16' : 'F32', shape: [rows, groups] },
    ...(grid.symmetric
      ? []
      : [{ name: `${name}.zeros`, type: 'U32', shape: [rows, rowWords(groups, grid.bits)] }]),
    ...(groupsSorted ? [{ name: `${name}.group_of`, type: 'I32', shape: [columns] }] : []),
  ]
}

function describe({ shape, grid }: TensorPlan): PareWeight | undefined {
  if (!grid) return undefined
  const [rows, columns] = shape as [number, number]
  if (grid.kind === 'blocks') return { kind: 'blocks', type: grid.type, shape: [rows, columns] }
  const { bits, groupSize, symmetric, scaleType } = grid
  return { kind: 'grid', shape: [rows, columns], bits, groupSize, symmetric, scaleType }
}

type Encoders = Pick<TargetPlan, 'encodeSource' | 'encodeNumbers' | 'encodeKept'>

function encoders({ groupsSorted }: PareTargetOptions): Encoders {
  const encoded = (name: string, { values }: Pick<GridSource, 'values'>): EncodedTensor[] => {
    if (values.kind === 'blocks') return [{ name: `${name}.blocks`, bytes: values.bytes.bytes() }]
    const { codes, scales, zeros, groupOf, grid } = values
    const [rows, columns] = codes.shape as [number, number]
    const packed = (part: string, of: Tensor, width: number): EncodedTensor => ({
      name: `${name}.${part}`,
      bytes: bytesOf(packRows(of.bytes(), rows, width, grid.bits)),
    })
    return [
      packed('codes', codes, columns),
      { name: `${name}.scales`, bytes: scales.cast(grid.scaleType).bytes() },
      ...(grid.symmetric ? [] : [packed('zeros', zeros, scales.extent(1))]),
      ...(groupsSorted ? [{ name: `${name}.group_of`, bytes: bytesOf(groupOf) }] : []),
    ]
  }
  return {
    encodeSource: ({ name }, compressed) => scope(() => encoded(name, compressed as GridSource)),
    encodeNumbers: ({ name, type, grid }, values) =>
      scope(() =>
        grid ? encoded(name, columnSweep(values, { grid })) : [{ name, bytes: asType(values, type).bytes() }],
      ),
    encodeKept({ name }) {
      throw new TypeError(`${name}: a Pare folder does not keep bytes of the source`)
    },
  }
}

function pareWriter(
  folder: string,
  source: FolderSource,
  plans: readonly TensorPlan[],
  infos: readonly TensorInfo[],
  sharding: Sharding,
): ModelWriter {
  const { config, files } = source.companions()
  const writer = createShardedSafetensors(folder, infos, sharding)
  return {
    append: (name, bytes) => writer.append(name, bytes),
    finish() {
      writer.finish()
      const weights = Object.fromEntries(
        plans.flatMap((plan) => (plan.grid ? [[plan.name, describe(plan)]] : [])),
      )
      writeWhole(join(folder, 'pare.json'), json({ format: 'pare', version: pareFolderVersion, weights }))
      writeWhole(join(folder, 'config.json'), json(config))
      for (const [name, content] of files) writeWhole(join(folder, name), content)
    },
    abort: () => writer.abort(),
  }
}
