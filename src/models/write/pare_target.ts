/**
 * Writes a Pare folder: config and tokenizer as in a Hugging Face folder, weights in safetensors, and pare.json,
 * which says how each compressed weight is put together (`stored/pare_tensors.ts` lists the tensors).
 */
import { dirname, join } from 'node:path'
import type { TensorInfo } from '../../formats/archive.ts'
import { disk } from '../../formats/disk.ts'
import { writeWhole } from '../../formats/output.ts'
import { pareJson } from '../../formats/pare_folder.ts'
import { faultOf, type PareWeight } from '../../formats/pare_weight.ts'
import { createShardedSafetensors, layOutShards } from '../../formats/safetensors/writer.ts'
import { type BlockTypeName, isCodedType, typeForRow } from '../../nn/block_types.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import { type AffineGrid, type Grid, gridName } from '../../nn/grid.ts'
import type { StoredSource } from '../../nn/values/values.ts'
import { OptionError } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import { weightName } from '../stored/pare_layers.ts'
import { tensorsOfStored } from '../stored/pare_tensors.ts'
import { bytesOfInfo, encodeStored } from './encode_stored.ts'
import { asType, type FolderSource, json, plainType } from './folder_source.ts'
import type { ModelWriter, TargetPlan } from './model_writer.ts'
import { type Sharding, shardNotes } from './sharding.ts'
import { asNumbers, keptNumbers, type TensorChoices } from './tensor_choice.ts'
import { roleOf, type TensorPlan } from './tensor_plan.ts'

export interface PareTargetOptions extends Sharding {
  grid: AffineGrid
  /** Groups of sorted columns need to be named. */
  groupsSorted: boolean
  /** Type of the embedding and the head. @default 'F16', or BF16 where the source has it */
  embedding?: BlockTypeName | undefined
  /** What is asked for single tensors. */
  choices?: TensorChoices
  /** How single weights are put together, of any kind, whatever is asked for the rest. */
  described?: ReadonlyMap<string, PareWeight>
}

export function planPare(source: FolderSource, options: PareTargetOptions): TargetPlan {
  const weights = new Map<string, PareWeight>()
  /** What methods put together: what they made decides. */
  const made = new Set<string>()
  /** The tensors that a weight takes in the file. */
  const storedTensors = ({ name, type, shape }: Pick<TensorPlan, 'name' | 'type' | 'shape'>) => {
    const weight = weights.get(name)
    return weight ? tensorsOfStored(name, weight) : [{ name, type, shape }]
  }
  const tensors = [...source.infos.values()].map((info): TensorPlan => {
    const { name, shape } = info
    const role = roleOf(info, source.matrices)
    const base = { name, shape, role, sourceType: info.type, kept: false }
    const sized = (plan: Omit<TensorPlan, 'bytes'>): TensorPlan => ({
      ...plan,
      bytes: storedTensors(plan).reduce((sum, tensor) => sum + bytesOfInfo(tensor), 0),
    })
    const planned = (type: string, grid: Grid | undefined, note?: string): TensorPlan => {
      if (grid) weights.set(name, describeGrid(shape, grid, options))
      return sized({ ...base, type, ...(grid ? { grid } : {}), ...(note ? { note } : {}) })
    }
    const choice = options.choices?.get(name)
    if (choice?.made) {
      checkDescribed(info, choice.made)
      weights.set(name, choice.made)
      made.add(name)
      return sized({ ...base, type: weightName(choice.made), made: choice.made })
    }
    const described = options.described?.get(name) ?? choice?.described
    if (described) {
      checkDescribed(info, described)
      weights.set(name, described)
      return sized({ ...base, type: weightName(described), described })
    }
    if (choice?.keep) return { ...base, ...keptNumbers(info, choice.by, 'a Pare folder') }
    if (choice?.numbers) return { ...base, ...asNumbers(shape, choice.numbers) }
    const grid = choice?.grid ?? (role === 'matrix' && !choice?.scheme ? options.grid : undefined)
    if (grid) return planned(gridName(grid), grid)
    const asked = choice?.scheme ?? options.embedding ?? plainType(info.type)
    if (role === 'vector') return planned(plainType(info.type), undefined)
    const type = typeForRow(asked, shape[1]!)
    const note = type === asked ? undefined : `${asked} does not divide rows of ${shape[1]}`
    return planned(type, isCodedType(type) ? { kind: 'blocks', type } : undefined, note)
  })
  const infos = tensors.flatMap(storedTensors)
  const shards = layOutShards(infos, options)
  return {
    target: 'pare',
    tensors,
    fileBytes: shards.files.reduce((sum, { bytes }) => sum + bytes, 0),
    alignment: 1,
    notes: shardNotes(shards),
    stored: (plan) => storedTensors(plan).map((info) => ({ name: info.name, bytes: bytesOfInfo(info) })),
    byRows: ({ name }) => ['blocks', 'grid', 'offset', 'dense'].includes(String(weights.get(name)?.kind)),
    encodeSource({ name }, compressed) {
      const { values, shape } = compressed as StoredSource
      const weight = made.has(name) ? undefined : weights.get(name)
      // Some rows of the weight, in the form that all of it has.
      return encodeStored(name, values, weight && { ...weight, shape: [...shape] })
    },
    encodeNumbers: ({ name, type, grid }, values) =>
      scope(() =>
        grid
          ? // Some rows of the weight, in the form that all of it has.
            encodeStored(
              name,
              columnSweep(values, { grid }).values,
              describeGrid(values.shape, grid, options),
            )
          : [{ name, bytes: asType(values, type).bytes() }],
      ),
    encodeKept({ name }) {
      throw new TypeError(`${name}: a Pare folder does not keep bytes of the source`)
    },
    check: () => void source.companions(),
    create: (folder) => pareWriter(folder, source, weights, infos, options),
  }
}

function describeGrid(shape: readonly number[], grid: Grid, { groupsSorted }: PareTargetOptions): PareWeight {
  const [rows, columns] = shape as [number, number]
  if (grid.kind === 'blocks') return { kind: 'blocks', type: grid.type, shape: [rows, columns] }
  const { bits, groupSize, symmetric, scaleType } = grid
  const sorted = groupsSorted
  return { kind: 'grid', shape: [rows, columns], bits, groupSize, symmetric, scaleType, sorted }
}

/** @throws OptionError for a description that is not wholly there, or is of another weight. */
function checkDescribed({ name, shape }: Pick<TensorPlan, 'name' | 'shape'>, weight: PareWeight): void {
  const fault = faultOf(name, weight)
  if (fault === undefined && weight.shape.every((n, axis) => n === shape[axis]) && shape.length === 2) return
  throw new OptionError(
    `${name}: needs a description of [${shape.join(', ')}], got ${JSON.stringify(weight)}; describe what is stored`,
    { code: 'PARE_E_PLANNED_FORM', facts: { tensor: name, ...(fault === undefined ? {} : { fault }) } },
  )
}

function pareWriter(
  folder: string,
  source: FolderSource,
  weights: ReadonlyMap<string, PareWeight>,
  infos: readonly TensorInfo[],
  sharding: Sharding,
): ModelWriter {
  const { config, files } = source.companions()
  const writer = createShardedSafetensors(folder, infos, sharding)
  return {
    append: (name, bytes) => writer.append(name, bytes),
    finish() {
      writer.finish()
      writeWhole(join(folder, 'pare.json'), json(pareJson(weights)))
      writeWhole(join(folder, 'config.json'), json(config))
      for (const [name, content] of files) {
        disk().makeFolder(join(folder, dirname(name)))
        writeWhole(join(folder, name), content)
      }
    },
    abort: () => writer.abort(),
  }
}
