/** MLX folders, mode affine: value = scale * code + bias. mlx-lm and LM Studio load them. */
import { type MlxBits, mlxBits, mlxGroupSizes, packMlx } from '../../formats/mlx_packing.ts'
import { groupWidth } from '../../nn/grid.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { OptionError } from '../../tensor/errors.ts'
import { bytesOf, type Tensor } from '../../tensor/index.ts'
import { type CheckpointOptions, planCheckpoint } from './checkpoint_target.ts'
import type { FolderSource } from './folder_source.ts'
import { type CodedLayer, floatName, gridForm, type LayerEncoding, moduleOf } from './layer_encoding.ts'
import type { TargetPlan } from './model_writer.ts'

/**
 * Plans the folder. Layers may differ in bits and groups.
 *
 * A grid with zeros becomes one with biases: -scale * zero, rounded to the type of the scales. In the middle, and of up
 * to 2 bits, that is exact; else values move by at most 2^-11 of the largest.
 *
 * @throws OptionError where groups are not of 32, 64 or 128 columns.
 */
export const planMlx = (source: FolderSource, options: CheckpointOptions): TargetPlan =>
  planCheckpoint(source, mlxEncoding, options)

export const mlxEncoding: LayerEncoding = {
  target: 'mlx',
  title: 'an MLX folder',
  mixed: true,
  embeddings: true,
  byRows: true,
  formOf: (described) =>
    described.kind === 'offset' ? { ...described, symmetric: false } : gridForm(described),
  need({ shape: [, columns], grid: { bits, groupSize, sorted } }) {
    if (!(mlxBits as readonly number[]).includes(bits)) return `${mlxBits.join(', ')} bits`
    if (sorted) return 'groups of neighbours'
    const fits = (mlxGroupSizes as readonly unknown[]).includes(groupSize)
    return fits && columns % (groupSize as number) === 0
      ? undefined
      : `groups of ${mlxGroupSizes.join(', ')} that divide the rows`
  },
  tensors({ name, shape: [rows, columns], grid }) {
    const groups = columns / groupWidth(grid, columns)
    const stem = moduleOf(name)
    const type = floatName(grid.scaleType)
    return [
      { name: `${stem}.weight`, type: 'U32', shape: [rows, (columns * grid.bits) / 32] },
      { name: `${stem}.scales`, type, shape: [rows, groups] },
      { name: `${stem}.biases`, type, shape: [rows, groups] },
    ]
  },
  encode({ name, shape: [rows, columns], grid }, values) {
    const { codes, scales, biases } = withBiases(name, values)
    const stem = moduleOf(name)
    return [
      { name: `${stem}.weight`, bytes: bytesOf(packMlx(codes.bytes(), rows, columns, grid.bits as MlxBits)) },
      { name: `${stem}.scales`, bytes: scales.cast(grid.scaleType).bytes() },
      { name: `${stem}.biases`, bytes: biases.cast(grid.scaleType).bytes() },
    ]
  },
  configuration(layers, leftOut) {
    const quantization = {
      ...usualForm(layers),
      mode: 'affine',
      ...overrides(layers),
      ...Object.fromEntries(leftOut.map((name) => [moduleOf(name), false])),
    }
    return { quantization, quantization_config: quantization }
  },
}

function withBiases(name: string, values: StoredValues): { codes: Tensor; scales: Tensor; biases: Tensor } {
  if (values.kind === 'offset') return { codes: values.codes, scales: values.scales, biases: values.offsets }
  if (values.kind !== 'grid')
    throw new OptionError(`${name}: an MLX folder stores evenly spaced grids, the method made something else`)
  const { codes, scales, zeros } = values
  return { codes, scales, biases: scales.mul(zeros.cast('f32')).neg() }
}

const formOf = ({ grid: { bits, groupSize } }: CodedLayer) => ({ group_size: groupSize, bits })

/** The form of most layers. */
function usualForm(layers: readonly CodedLayer[]): Record<string, unknown> {
  const counts = new Map<string, number>()
  for (const layer of layers) {
    const key = JSON.stringify(formOf(layer))
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const [most] = [...counts].toSorted(([, a], [, b]) => b - a)
  return most ? JSON.parse(most[0]) : {}
}

function overrides(layers: readonly CodedLayer[]): Record<string, unknown> {
  const usual = JSON.stringify(usualForm(layers))
  return Object.fromEntries(
    layers.flatMap((layer) =>
      JSON.stringify(formOf(layer)) === usual ? [] : [[moduleOf(layer.name), formOf(layer)]],
    ),
  )
}
