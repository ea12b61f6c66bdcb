/** GPTQ checkpoints: codes packed along the inputs, zeros along the outputs. transformers, vLLM and others load them. */
import { type GptqBits, packAcross, packDown, storedZeros } from '../../formats/gptq_packing.ts'
import { type AffineGrid, groupWidth } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import { bytesOf } from '../../tensor/index.ts'
import { planCheckpoint } from './checkpoint_target.ts'
import type { FolderSource } from './folder_source.ts'
import { json } from './folder_source.ts'
import { fusedModule, gridForm, type LayerEncoding, moduleOf } from './layer_encoding.ts'
import type { TargetPlan } from './model_writer.ts'
import type { Sharding } from './sharding.ts'
import type { TensorChoices } from './tensor_choice.ts'

export interface GptqTargetOptions extends Sharding {
  grid: AffineGrid
  actOrder: boolean
  /** Version of the zeros: `gptq` stores them less 1. @default 'gptq' */
  checkpointFormat?: 'gptq' | 'gptq_v2'
  /** Share of the mean diagonal that was added, for the record. */
  damping?: number
  staticGroups?: boolean
  trueSequential?: boolean
  /** Weights that are left as they are are named by the matrix they are fused into too, as vLLM calls them. @default false */
  fused?: boolean
  /** What is asked for single tensors: the format can only leave them as they are. */
  choices?: TensorChoices
}

export const planGptq = (source: FolderSource, options: GptqTargetOptions): TargetPlan =>
  planCheckpoint(source, gptqEncoding(options), options)

export function gptqEncoding(options: Omit<GptqTargetOptions, 'choices'>): LayerEncoding {
  const { grid, actOrder, checkpointFormat = 'gptq', staticGroups = false } = options
  return {
    target: 'gptq',
    title: 'a GPTQ checkpoint',
    mixed: false,
    formOf: gridForm,
    need({ shape: [rows, columns], grid: { bits } }) {
      if (![2, 3, 4, 8].includes(bits)) return '2, 3, 4 or 8 bits'
      return rows % 32 === 0 && columns % 32 === 0 ? undefined : 'rows and columns that 32 divides'
    },
    tensors({ name, shape: [rows, columns] }) {
      const groups = Math.ceil(columns / groupWidth(grid, columns))
      const stem = moduleOf(name)
      return [
        { name: `${stem}.qweight`, type: 'I32', shape: [(columns * grid.bits) / 32, rows] },
        { name: `${stem}.qzeros`, type: 'I32', shape: [groups, (rows * grid.bits) / 32] },
        { name: `${stem}.scales`, type: 'F16', shape: [groups, rows] },
        { name: `${stem}.g_idx`, type: 'I32', shape: [columns] },
      ]
    },
    encode({ name }, values) {
      if (values.kind !== 'grid')
        throw new OptionError(
          `${name}: a GPTQ file stores evenly spaced grids, the method made something else`,
        )
      const { codes, scales, zeros, groupOf } = values
      // The plan has a grid of these bits.
      const bits = values.grid.bits as GptqBits
      const [rows, columns] = codes.shape as [number, number]
      const groups = scales.extent(1)
      const down = codes.transpose().contiguous().bytes() // [in, out]
      const across = zeros.transpose().contiguous().bytes() // [groups, out]
      const stored = storedZeros(across, bits, checkpointFormat)
      const stem = moduleOf(name)
      return [
        { name: `${stem}.qweight`, bytes: bytesOf(packDown(down, columns, rows, bits)) },
        { name: `${stem}.qzeros`, bytes: bytesOf(packAcross(stored, groups, rows, bits)) },
        { name: `${stem}.scales`, bytes: scales.transpose().cast('f16').bytes() },
        { name: `${stem}.g_idx`, bytes: bytesOf(groupOf) },
      ]
    },
    configuration: (layers, leftOut) => ({
      quantization_config: quantizationConfig(
        options,
        leftOut,
        layers.map(({ name }) => moduleOf(name)),
      ),
    }),
    files: ({ quantization_config }) => new Map([['quantize_config.json', json(quantization_config)]]),
    notes: actOrder && !staticGroups ? ['columns were sorted, so that a reader must honour g_idx'] : [],
  }
}

function quantizationConfig(
  options: Omit<GptqTargetOptions, 'choices'>,
  leftOut: readonly string[],
  quantised: readonly string[],
): Record<string, unknown> {
  const {
    grid,
    actOrder,
    checkpointFormat = 'gptq',
    damping = 0.01,
    staticGroups = false,
    trueSequential = true,
    fused = false,
  } = options
  const modules = leftOut.map(moduleOf)
  const names = fused ? new Set([...modules, ...modules.map(fusedModule)]) : modules
  // Readers ask the names of modules, of which a leading -: leaves out what it matches.
  const dynamic = [...names].map((name) => [`-:^${name.replaceAll('.', '\\.')}$`, {}])
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
    // transformers' loader, optimum, does not look at `dynamic`: without this it makes codes of every linear layer.
    ...(leftOut.length > 0 && !fused ? { modules_in_block_to_quantize: [quantised] } : {}),
    meta: { quantizer: ['pare:0.1.0'] },
  }
}
