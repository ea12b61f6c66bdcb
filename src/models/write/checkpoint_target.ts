/** Writes a Hugging Face folder whose linear weights are codes, in the layout of some format. */
import { join } from 'node:path'
import type { TensorInfo } from '../../formats/archive.ts'
import { disk } from '../../formats/disk.ts'
import { writeWhole } from '../../formats/output.ts'
import { createShardedSafetensors, layOutShards } from '../../formats/safetensors/writer.ts'
import { type AffineGrid, gridName } from '../../nn/grid.ts'
import type { StoredSource } from '../../nn/values/values.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import type { WeightInfo } from '../model_weights.ts'
import { weightName } from '../stored/pare_layers.ts'
import { bytesOfInfo } from './encode_stored.ts'
import { asType, type FolderSource, json, plainType } from './folder_source.ts'
import type { CodedLayer, LayerEncoding, StepForm } from './layer_encoding.ts'
import type { ModelWriter, TargetPlan } from './model_writer.ts'
import { type Sharding, shardNotes } from './sharding.ts'
import { asNumbers, keptNumbers, type TensorChoice, type TensorChoices } from './tensor_choice.ts'
import { roleOf, type TensorPlan } from './tensor_plan.ts'

export interface LayerOptions extends Sharding {
  /** Of every linear weight that nothing else is asked for. @default none: something has to be asked for each */
  grid?: AffineGrid | undefined
  /** What is asked for single tensors: another grid where the format has several, or to be left as it is. */
  choices?: TensorChoices | undefined
}

export interface CheckpointOptions extends LayerOptions {
  grid: AffineGrid
}

export function planCheckpoint<Form = StepForm>(
  source: FolderSource,
  encoding: LayerEncoding<Form>,
  options: LayerOptions,
): TargetPlan {
  const { grid, choices } = options
  const leftOut = [...source.matrices].filter((name) => {
    const choice = choices?.get(name)
    return choice?.keep || choice?.numbers
  })
  checkGroups(source, encoding, options)
  const layerOf = ({ name, shape, grid: rounded, described }: TensorPlan): CodedLayer<Form> => ({
    name,
    shape: shape as [number, number],
    grid: described ? encoding.formOf(described)! : (rounded as Form),
  })
  const isCoded = (plan: TensorPlan) => plan.grid !== undefined || plan.described !== undefined
  /** @throws OptionError where the format has no such layer */
  const coded = (plan: Omit<TensorPlan, 'bytes'>): TensorPlan => {
    const { name, shape, described } = plan
    const isForm = described === undefined || encoding.formOf(described) !== undefined
    const layer = isForm ? layerOf({ ...plan, bytes: 0 }) : undefined
    const need = layer ? encoding.need(layer) : 'codes of another kind'
    if (need !== undefined)
      throw new OptionError(
        `${printable(name)}: ${encoding.title} needs ${need}, got ${plan.type} for [${shape.join(', ')}]; choose --target pare, or keep the weight`,
        { code: 'PARE_E_LAYER_FORM', facts: { tensor: name, shape: [...shape] } },
      )
    const bytes = encoding.tensors(layer!).reduce((sum, tensor) => sum + bytesOfInfo(tensor), 0)
    return { ...plan, bytes }
  }
  const tensors = [...source.infos.values()].map((info): TensorPlan => {
    const { name, shape } = info
    const role = roleOf(info, source.matrices)
    const base = { name, shape, role, sourceType: info.type, kept: false }
    const choice = choices?.get(name)
    if (choice?.keep) return { ...base, ...keptNumbers(info, choice.by, encoding.title) }
    if (choice?.numbers) return { ...base, ...asNumbers(shape, choice.numbers) }
    if (choice?.described && (role === 'matrix' || (encoding.embeddings && role !== 'vector')))
      return coded({ ...base, type: weightName(choice.described), described: choice.described })
    const isOwn = choice?.grid && grid && gridName(choice.grid) === gridName(grid)
    const other = choice && (role !== 'matrix' || !isOwn)
    if (other && !(encoding.mixed && role === 'matrix' && choice.grid))
      throw otherGrid(info, encoding, grid, choice)
    if (role !== 'matrix')
      return { ...base, type: plainType(info.type), bytes: 2 * shape.reduce((a, b) => a * b, 1) }
    const own = choice?.grid ?? grid
    if (!own)
      throw new OptionError(
        `${printable(name)}: ${encoding.title} stores codes that are there already, and no method makes them; choose another target, or keep the weight`,
        { code: 'PARE_E_LAYER_FORM', facts: { tensor: name } },
      )
    return coded({ ...base, type: gridName(own), grid: own })
  })
  const infos = tensors.flatMap((plan) =>
    isCoded(plan)
      ? encoding.tensors(layerOf(plan))
      : [{ name: plan.name, type: plan.type, shape: plan.shape }],
  )
  const shards = layOutShards(infos, options)
  return {
    target: encoding.target,
    tensors,
    fileBytes: shards.files.reduce((sum, { bytes }) => sum + bytes, 0),
    alignment: 1,
    notes: [...(encoding.notes ?? []), ...shardNotes(shards)],
    stored: (plan) =>
      isCoded(plan)
        ? encoding.tensors(layerOf(plan)).map((info) => ({ name: info.name, bytes: bytesOfInfo(info) }))
        : [{ name: plan.name, bytes: plan.bytes }],
    byRows: () => encoding.byRows === true,
    encodeSource: (plan, compressed) =>
      scope(() => {
        const { values, shape } = compressed as StoredSource
        return encoding.encode({ ...layerOf(plan), shape }, values)
      }),
    encodeNumbers: ({ name, type }, values) => scope(() => [{ name, bytes: asType(values, type).bytes() }]),
    encodeKept({ name }) {
      throw new OptionError(`${name}: ${encoding.title} does not keep bytes of the source`)
    },
    check: () => void source.companions(),
    create: (folder) =>
      checkpointWriter(folder, source, infos, options, () => {
        const layers = tensors.flatMap((plan) => (isCoded(plan) ? [layerOf(plan)] : []))
        const configuration = encoding.configuration(layers, leftOut)
        return { configuration, files: encoding.files?.(configuration) ?? new Map() }
      }),
  }
}

/** Group sizes near the one asked for that divide all rows. */
function fittingSizes(columns: readonly number[]): number[] {
  return [16, 32, 48, 64, 96, 128, 192, 256].filter((size) => columns.every((n) => n % size === 0))
}

/** All widths at once, so that the message can name sizes that fit every layer. */
function checkGroups(
  { infos, matrices }: FolderSource,
  { title }: { readonly title: string },
  { grid, choices }: LayerOptions,
): void {
  if (!grid || grid.groupSize === 'row') return
  const { groupSize } = grid
  const widths = [...matrices]
    .filter((name) => {
      const choice = choices?.get(name)
      const isRounded = !choice?.keep && !choice?.numbers && !choice?.described
      return isRounded && (choice?.grid ?? grid).groupSize === groupSize
    })
    .map((name) => infos.get(name)!.shape[1]!)
  const bad = widths.find((columns) => columns % groupSize !== 0)
  if (bad === undefined) return
  const fitting = fittingSizes(widths)
  throw new OptionError(
    `--group-size ${groupSize}: ${title} needs groups that divide the rows, got rows of ${bad}; choose ${fitting.join(', ')} or row`,
    { code: 'PARE_E_GROUP_SIZE', facts: { columns: bad, groupSize, fitting } },
  )
}

function otherGrid(
  { name }: WeightInfo,
  { title, mixed }: { readonly title: string; readonly mixed: boolean },
  grid: AffineGrid | undefined,
  { by, grid: other }: TensorChoice,
): OptionError {
  const has = mixed
    ? 'evenly spaced codes for its linear weights'
    : `one form for all of its linear weights${grid ? `, ${gridName(grid)}` : ''}`
  return new OptionError(
    `${by}: ${title} has ${has}, and half floats for the rest, got ${other ? gridName(other) : 'a block type'} for ${printable(name)}; choose --target pare or gguf, or keep the weight`,
    { code: 'PARE_E_ONE_GRID', facts: { tensor: name } },
  )
}

function checkpointWriter(
  folder: string,
  source: FolderSource,
  infos: readonly TensorInfo[],
  options: Sharding,
  described: () => { configuration: Record<string, unknown>; files: ReadonlyMap<string, string> },
): ModelWriter {
  disk().makeFolder(folder)
  const { config, files } = source.companions()
  const writer = createShardedSafetensors(folder, infos, options)
  return {
    append: (name, bytes) => writer.append(name, bytes),
    finish() {
      writer.finish()
      const { configuration, files: own } = described()
      writeWhole(join(folder, 'config.json'), json({ ...config, torch_dtype: 'float16', ...configuration }))
      for (const [name, content] of [...own, ...files]) writeWhole(join(folder, name), content)
    },
    abort: () => writer.abort(),
  }
}
