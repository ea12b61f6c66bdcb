/** compressed-tensors checkpoints, format pack-quantized: what llm-compressor writes, and vLLM loads. */
import { packCodes, packedLength } from '../../formats/compressed_tensors_packing.ts'
import { groupWidth } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import { bytesOf } from '../../tensor/index.ts'
import { type CheckpointOptions, planCheckpoint } from './checkpoint_target.ts'
import type { FolderSource } from './folder_source.ts'
import {
  type CodedLayer,
  floatName,
  gridForm,
  type LayerEncoding,
  moduleOf,
  type StepForm,
} from './layer_encoding.ts'
import type { TargetPlan } from './model_writer.ts'

/** The version of the library whose layout this is: from 0.18 on codes of 3 bits are one stream. */
const libraryVersion = '0.18.0'

/**
 * Plans the folder. Layers may differ in bits, groups and symmetry. Groups that are no neighbours are named, which needs
 * a reader of `weight_g_idx`.
 *
 * @throws OptionError where groups do not divide the inputs of a layer.
 */
export const planCompressedTensors = (source: FolderSource, options: CheckpointOptions): TargetPlan =>
  planCheckpoint(source, compressedTensorsEncoding, options)

export const compressedTensorsEncoding: LayerEncoding = {
  target: 'compressed-tensors',
  title: 'a compressed-tensors checkpoint',
  mixed: true,
  formOf: gridForm,
  need: ({ shape: [, columns], grid: { groupSize } }) =>
    groupSize === 'row' || columns % groupSize === 0 ? undefined : 'groups that divide the rows',
  tensors({ name, shape: [rows, columns], grid }) {
    const { bits, scaleType, symmetric, sorted } = grid
    const groups = columns / groupWidth(grid, columns)
    const stem = moduleOf(name)
    const zeros = {
      name: `${stem}.weight_zero_point`,
      type: 'I32',
      shape: [packedLength(rows, bits, 'stream'), groups],
    }
    return [
      { name: `${stem}.weight_packed`, type: 'I32', shape: [rows, packedLength(columns, bits, 'stream')] },
      { name: `${stem}.weight_scale`, type: floatName(scaleType), shape: [rows, groups] },
      ...(symmetric ? [] : [zeros]),
      ...(sorted ? [{ name: `${stem}.weight_g_idx`, type: 'I32', shape: [columns] }] : []),
      { name: `${stem}.weight_shape`, type: 'I64', shape: [2] },
    ]
  },
  encode({ name, shape: [rows, columns], grid: { sorted } }, values) {
    if (values.kind !== 'grid')
      throw new OptionError(
        `${name}: a compressed-tensors file stores evenly spaced grids, the method made something else`,
      )
    const { codes, scales, zeros, grid, groupOf } = values
    const { bits, scaleType, symmetric } = grid
    const stem = moduleOf(name)
    const packed = (part: typeof codes, width: number, axis: 0 | 1) =>
      bytesOf(packCodes(part.bytes(), { rows, columns: width, bits, packing: 'stream', axis }))
    return [
      { name: `${stem}.weight_packed`, bytes: packed(codes, columns, 1) },
      { name: `${stem}.weight_scale`, bytes: scales.cast(scaleType).bytes() },
      ...(symmetric
        ? []
        : [{ name: `${stem}.weight_zero_point`, bytes: packed(zeros, scales.extent(1), 0) }]),
      ...(sorted ? [{ name: `${stem}.weight_g_idx`, bytes: bytesOf(groupOf) }] : []),
      {
        name: `${stem}.weight_shape`,
        bytes: new Uint8Array(BigInt64Array.of(BigInt(rows), BigInt(columns)).buffer),
      },
    ]
  },
  configuration: (layers, leftOut) => ({
    quantization_config: {
      quant_method: 'compressed-tensors',
      version: libraryVersion,
      format: 'pack-quantized',
      quantization_status: 'compressed',
      global_compression_ratio: null,
      kv_cache_scheme: null,
      ignore: ['lm_head', ...leftOut.map(moduleOf)],
      config_groups: configGroups(layers),
      sparsity_config: {},
      transform_config: {},
    },
  }),
}

/** One group for all linear layers of the model, or the names of those that share a form. */
function configGroups(layers: readonly CodedLayer[]): Record<string, unknown> {
  const groups = new Map<string, { weights: Record<string, unknown>; names: string[] }>()
  for (const { name, grid } of layers) {
    const weights = weightScheme(grid)
    const key = JSON.stringify(weights)
    groups.set(key, { weights, names: [...(groups.get(key)?.names ?? []), moduleOf(name)] })
  }
  const all = [...groups.values()].map(({ weights, names }, i) => [
    `group_${i}`,
    {
      targets: groups.size === 1 ? ['Linear'] : names,
      weights,
      input_activations: null,
      output_activations: null,
    },
  ])
  return Object.fromEntries(all)
}

const weightScheme = ({ bits, groupSize, symmetric, sorted }: StepForm): Record<string, unknown> => ({
  num_bits: bits,
  type: 'int',
  symmetric,
  strategy: groupSize === 'row' ? 'channel' : 'group',
  group_size: groupSize === 'row' ? null : groupSize,
  dynamic: false,
  actorder: sorted ? 'group' : null,
  block_structure: null,
  observer: 'minmax',
  observer_kwargs: {},
})
