/** AWQ checkpoints, version gemm: 4 bits, outputs packed in eights. transformers, vLLM and mlx-lm load them. */
import { packAwq } from '../../formats/awq_packing.ts'
import { type AffineGrid, groupWidth } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import { bytesOf } from '../../tensor/index.ts'
import { type CheckpointOptions, planCheckpoint } from './checkpoint_target.ts'
import type { FolderSource } from './folder_source.ts'
import { gridForm, type LayerEncoding, moduleOf } from './layer_encoding.ts'
import type { TargetPlan } from './model_writer.ts'

/**
 * Plans the folder.
 *
 * @throws OptionError where a layer does not fit: 4 bits, outputs that 8 divides, groups of neighbours that divide the
 * inputs.
 */
export const planAwq = (source: FolderSource, options: CheckpointOptions): TargetPlan =>
  planCheckpoint(source, awqEncoding(options.grid), options)

export const awqEncoding = (grid: AffineGrid): LayerEncoding => ({
  target: 'awq',
  title: 'an AWQ checkpoint',
  mixed: false,
  formOf: gridForm,
  need({ shape: [rows], grid: { bits, sorted } }) {
    if (bits !== 4) return '4 bits'
    if (sorted) return 'groups of neighbours'
    return rows % 8 === 0 ? undefined : 'rows that 8 divides'
  },
  tensors({ name, shape: [rows, columns] }) {
    const groups = Math.ceil(columns / groupWidth(grid, columns))
    const stem = moduleOf(name)
    return [
      { name: `${stem}.qweight`, type: 'I32', shape: [columns, rows / 8] },
      { name: `${stem}.qzeros`, type: 'I32', shape: [groups, rows / 8] },
      { name: `${stem}.scales`, type: 'F16', shape: [groups, rows] },
    ]
  },
  encode({ name }, values) {
    if (values.kind !== 'grid')
      throw new OptionError(`${name}: an AWQ file stores evenly spaced grids, the method made something else`)
    const { codes, scales, zeros } = values
    const [rows, columns] = codes.shape as [number, number]
    const packed = (part: typeof codes, height: number) =>
      bytesOf(packAwq(part.transpose().contiguous().bytes(), height, rows))
    const stem = moduleOf(name)
    return [
      { name: `${stem}.qweight`, bytes: packed(codes, columns) },
      { name: `${stem}.qzeros`, bytes: packed(zeros, scales.extent(1)) },
      { name: `${stem}.scales`, bytes: scales.transpose().cast('f16').bytes() },
    ]
  },
  configuration: (_, leftOut) => ({
    quantization_config: {
      quant_method: 'awq',
      bits: 4,
      group_size: grid.groupSize === 'row' ? -1 : grid.groupSize,
      // Zeros are stored whether they are in the middle or not.
      zero_point: true,
      version: 'gemm',
      modules_to_not_convert: ['lm_head', ...leftOut.map(moduleOf)],
    },
  }),
})
