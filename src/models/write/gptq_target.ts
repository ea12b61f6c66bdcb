/** Writes a GPTQ checkpoint: a Hugging Face folder that transformers, vLLM and others load. */
import { join } from 'node:path'
import type { TensorInfo } from '../../formats/archive.ts'
import { disk } from '../../formats/disk.ts'
import { type GptqBits, packAcross, packDown, storedZeros } from '../../formats/gptq_packing.ts'
import { writeWhole } from '../../formats/output.ts'
import { createShardedSafetensors, layOutShards } from '../../formats/safetensors/writer.ts'
import { type AffineGrid, type GridSource, gridName, groupWidth } from '../../nn/grid.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { bytesOf, scope, type Tensor } from '../../tensor/index.ts'
import type { WeightInfo } from '../model_weights.ts'
import type { ModelWriter, TargetPlan } from './model_writer.ts'
import { type Sharding, shardNotes } from './sharding.ts'
import { keptNumbers, type TensorChoice, type TensorChoices } from './tensor_choice.ts'
import { roleOf, type TensorPlan } from './tensor_plan.ts'

export interface GptqTargetOptions extends Sharding {
  grid: AffineGrid
  actOrder: boolean
  /** Version of the zeros: `gptq` stores them less 1. @default 'gptq' */
  checkpointFormat?: 'gptq' | 'gptq_v2'
  /** Share of the mean diagonal that was added, for the record. */
  damping?: number
  staticGroups?: boolean
  trueSequential?: boolean
  /** What is asked for single tensors: the format can only leave them as they are. */
  choices?: TensorChoices
}

export interface FolderSource {
  infos: ReadonlyMap<string, WeightInfo>
  matrices: ReadonlySet<string>
  /** Made when the folder is written: they may need the tokenizer, and a plan does not. */
  companions(): FolderCompanions
}

export interface FolderCompanions {
  /** config.json without quantization. */
  config: Record<string, unknown>
  /** Further files of the folder: tokenizer, generation settings. */
  files: ReadonlyMap<string, Uint8Array | string>
}

/** Divisors of `columns` near a size that does not fit. */
function fittingSizes(columns: readonly number[]): number[] {
  return [16, 32, 48, 64, 96, 128, 192, 256].filter((size) => columns.every((n) => n % size === 0))
}

/** Float type of what is not quantised: bf16 where the source has it or f16 has not its range, else f16. */
export const plainType = (sourceType: string): 'F16' | 'BF16' =>
  sourceType === 'BF16' || sourceType === 'F8_E8M0' ? 'BF16' : 'F16'

export function planGptq(source: FolderSource, options: GptqTargetOptions): TargetPlan {
  const { grid, actOrder, choices } = options
  const leftOut = [...source.matrices].filter((name) => choices?.get(name)?.keep)
  const widths = [...source.matrices]
    .filter((name) => !leftOut.includes(name))
    .map((name) => source.infos.get(name)!.shape[1]!)
  const bad = grid.groupSize === 'row' ? undefined : widths.find((n) => n % (grid.groupSize as number) !== 0)
  if (bad !== undefined) {
    throw new OptionError(
      `--group-size ${grid.groupSize}: a GPTQ file needs groups that divide the rows, got rows of ${bad}; choose ${fittingSizes(widths).join(', ')} or row`,
      {
        code: 'PARE_E_GROUP_SIZE',
        facts: { columns: bad, groupSize: grid.groupSize, fitting: fittingSizes(widths) },
      },
    )
  }
  const tensors = [...source.infos.values()].map((info): TensorPlan => {
    const { name, shape } = info
    const role = roleOf(info, source.matrices)
    const base = { name, shape, role, sourceType: info.type, kept: false }
    const choice = choices?.get(name)
    if (choice?.keep) return { ...base, ...keptNumbers(info, choice.by, 'a GPTQ checkpoint') }
    const other = choice && (role !== 'matrix' || !choice.grid || gridName(choice.grid) !== gridName(grid))
    if (other) throw oneGridOnly(info, grid, choice)
    if (role !== 'matrix') {
      return { ...base, type: plainType(info.type), bytes: 2 * shape.reduce((a, b) => a * b, 1) }
    }
    const [rows, columns] = shape as [number, number]
    if (rows % 32 !== 0 || columns % 32 !== 0) {
      throw new OptionError(
        `${name}: a GPTQ file needs rows and columns that 32 divides, got [${rows}, ${columns}]; choose --target pare`,
      )
    }
    const bytes = layerTensors(name, [rows, columns], options).reduce((sum, t) => sum + bytesIn(t), 0)
    return { ...base, type: gridName(grid), grid: choice?.grid ?? grid, bytes }
  })
  const infos = tensors.flatMap((plan) =>
    plan.grid
      ? layerTensors(plan.name, plan.shape as [number, number], options)
      : [{ name: plan.name, type: plan.type, shape: plan.shape }],
  )
  const shards = layOutShards(infos, options)
  return {
    target: 'gptq',
    tensors,
    fileBytes: shards.files.reduce((sum, { bytes }) => sum + bytes, 0),
    alignment: 1,
    notes: [
      ...(actOrder && !options.staticGroups
        ? ['columns were sorted, so that a reader must honour g_idx']
        : []),
      ...shardNotes(shards),
    ],
    stored: ({ name, shape, bytes, grid }) =>
      grid
        ? layerTensors(name, shape as [number, number], options).map((info) => ({
            name: info.name,
            bytes: bytesIn(info),
          }))
        : [{ name, bytes }],
    ...encoders(options),
    check: () => void source.companions(),
    create: (folder) => gptqWriter(folder, source, { ...options, leftOut }, infos),
  }
}

function oneGridOnly({ name }: WeightInfo, grid: AffineGrid, { by, grid: other }: TensorChoice): OptionError {
  return new OptionError(
    `${by}: a GPTQ checkpoint has one bit width and group size for all of its linear weights, ${gridName(grid)}, and half floats for the rest, got ${other ? gridName(other) : 'a block type'} for ${printable(name)}; choose --target pare or gguf, or keep the weight`,
    { code: 'PARE_E_ONE_GRID', facts: { tensor: name } },
  )
}

/** A GPTQ target with the matrices that are not quantised. */
type WrittenOptions = GptqTargetOptions & { leftOut: readonly string[] }

const itemBytes: Readonly<Record<string, number>> = { I32: 4, F16: 2, BF16: 2, F32: 4 }
const bytesIn = ({ type, shape }: TensorInfo) => itemBytes[type]! * shape.reduce((a, b) => a * b, 1)

/** The four tensors of a quantised layer. */
function layerTensors(
  name: string,
  [rows, columns]: readonly [number, number],
  { grid }: GptqTargetOptions,
): TensorInfo[] {
  const stem = name.replace(/\.weight$/, '')
  const groups = Math.ceil(columns / groupWidth(grid, columns))
  return [
    { name: `${stem}.qweight`, type: 'I32', shape: [(columns * grid.bits) / 32, rows] },
    { name: `${stem}.qzeros`, type: 'I32', shape: [groups, (rows * grid.bits) / 32] },
    { name: `${stem}.scales`, type: 'F16', shape: [groups, rows] },
    { name: `${stem}.g_idx`, type: 'I32', shape: [columns] },
  ]
}

function quantizationConfig(options: WrittenOptions): Record<string, unknown> {
  const {
    grid,
    actOrder,
    checkpointFormat = 'gptq',
    damping = 0.01,
    staticGroups = false,
    trueSequential = true,
    leftOut,
  } = options
  // Readers ask the names of modules, of which a leading -: leaves out what it matches.
  const dynamic = leftOut.map((name) => [`-:^${name.replace(/\.weight$/, '').replaceAll('.', '\\.')}$`, {}])
  return {
    quant_method: 'gptq',
    bits: grid.bits,
    group_size: grid.groupSize === 'row' ? -1 : grid.groupSize,
    // What a reader must do, not how the columns were swept: static groups are neighbours, so that g_idx ascends.
    desc_act: actOrder && !staticGroups,
    sym: grid.symmetric,
    lm_head: false,
    damp_percent: damping,
    static_groups: actOrder && staticGroups,
    true_sequential: trueSequential,
    checkpoint_format: checkpointFormat,
    pack_dtype: 'int32',
    ...(leftOut.length > 0 ? { dynamic: Object.fromEntries(dynamic) } : {}),
    meta: { quantizer: ['pare:0.1.0'] },
  }
}

type Encoders = Pick<TargetPlan, 'encodeSource' | 'encodeNumbers' | 'encodeKept'>

function encoders({ checkpointFormat = 'gptq' }: GptqTargetOptions): Encoders {
  return {
    encodeSource({ name }, compressed) {
      const { values } = compressed as GridSource
      if (values?.kind !== 'grid')
        throw new OptionError(
          `${name}: a GPTQ file stores evenly spaced grids, the method made something else`,
        )
      const stem = name.replace(/\.weight$/, '')
      const { codes, scales, zeros, groupOf, grid } = values
      // The plan has a grid of these bits.
      const bits = grid.bits as GptqBits
      const [rows, columns] = codes.shape as [number, number]
      const groups = scales.extent(1)
      return scope(() => {
        const down = codes.transpose().contiguous().bytes() // [in, out]
        const across = zeros.transpose().contiguous().bytes() // [groups, out]
        const stored = storedZeros(across, bits, checkpointFormat)
        return [
          { name: `${stem}.qweight`, bytes: bytesOf(packDown(down, columns, rows, bits)) },
          { name: `${stem}.qzeros`, bytes: bytesOf(packAcross(stored, groups, rows, bits)) },
          { name: `${stem}.scales`, bytes: scales.transpose().cast('f16').bytes() },
          { name: `${stem}.g_idx`, bytes: bytesOf(groupOf) },
        ]
      })
    },
    encodeNumbers: ({ name, type }, values) => scope(() => [{ name, bytes: asType(values, type).bytes() }]),
    encodeKept({ name }) {
      throw new OptionError(`${name}: a GPTQ file does not keep bytes of the source`)
    },
  }
}

function gptqWriter(
  folder: string,
  source: FolderSource,
  options: WrittenOptions,
  infos: readonly TensorInfo[],
): ModelWriter {
  disk().makeFolder(folder)
  const { config, files } = source.companions()
  const writer = createShardedSafetensors(folder, infos, options)
  return {
    append: (name, bytes) => writer.append(name, bytes),
    finish() {
      writer.finish()
      const quantization = quantizationConfig(options)
      writeWhole(
        join(folder, 'config.json'),
        json({ ...config, torch_dtype: 'float16', quantization_config: quantization }),
      )
      writeWhole(join(folder, 'quantize_config.json'), json(quantization))
      for (const [name, content] of files) writeWhole(join(folder, name), content)
    },
    abort: () => writer.abort(),
  }
}

export const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`

/** Numbers in a plain type of safetensors. */
export const asType = (values: Tensor, type: string): Tensor =>
  values.cast(type === 'F16' ? 'f16' : type === 'BF16' ? 'bf16' : 'f32')
