/**
 * Rounds a matrix to a grid column by column, with the error of each column pushed onto the later ones. The solver
 * of the optimal-brain-surgeon family; its arithmetic stands in native/src/sweep.rs, its oracle beside the test.
 */

import { Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { rowBytes } from './block_types.ts'
import { type Grid, groupWidth, neighbourGroups, type Values } from './grid.ts'

export interface SweepOptions {
  /** How the codes are rounded. */
  grid: Grid
  /**
   * U transposed, [columns, columns] in sweep order, where H^-1 = U^T U and U is upper. Without it each weight goes
   * to its nearest level.
   */
  factor?: Tensor | undefined
  /** Column of the weight at each position of the sweep. @default first to last */
  order?: Uint32Array | undefined
  /** Groups are neighbouring columns, fitted before the sweep. @default false: fitted when the sweep reaches them */
  staticGroups?: boolean
  /** Columns between two updates of all later ones; changes speed, not results. @default 128 */
  block?: number
  /** Groups see their columns as they were when the block began, as the first published code did. @default false */
  stale?: boolean
}

export interface SweepResult {
  values: Values
  /** The chosen values [rows, columns], in the type of the weight. */
  dense: Tensor
  /** Half the sum of e^2 of each row, [rows]. */
  losses: Tensor
}

/** @param weight [rows, columns] in f32 or f64 @throws NumericalError where a weight is not finite */
export function columnSweep(weight: Tensor, options: SweepOptions): SweepResult {
  const { grid, factor, order, staticGroups = false, block = 128, stale = false } = options
  const [rows, columns] = weight.shape as [number, number]
  const places = order && tensor(order, [columns], 'u32')
  const details =
    grid.kind === 'blocks'
      ? { blockType: grid.type }
      : {
          bits: grid.bits,
          groupSize: groupWidth(grid, columns),
          symmetric: grid.symmetric,
          search: grid.search,
          halfScales: grid.scaleType === 'f16',
          zeroLow: grid.zeroLow,
        }
  const result = callNative((native) =>
    native.sweepGrid(weight.handle, factor?.handle, places?.handle, {
      ...details,
      staticGroups,
      block,
      stale,
    }),
  )
  const { kernels } = weight
  const wrap = (handle: number, dtype: 'u8' | 'f32' | typeof weight.dtype, shape: readonly number[]) =>
    new Tensor(kernels, handle, dtype, shape)
  const dense = wrap(result.dense, weight.dtype, weight.shape)
  const losses = wrap(result.losses, weight.dtype, [rows])
  if (grid.kind === 'blocks') {
    const bytes = wrap(result.blocks!, 'u8', [rows, rowBytes(grid.type, columns)])
    return { values: { kind: 'blocks', type: grid.type, shape: [rows, columns], bytes }, dense, losses }
  }
  const width = groupWidth(grid, columns)
  const groups = Math.ceil(columns / width)
  const groupOf = neighbourGroups(columns, width)
  if (order && !staticGroups)
    order.forEach((column, position) => {
      groupOf[column] = Math.floor(position / width)
    })
  const values: Values = {
    kind: 'grid',
    grid,
    codes: wrap(result.codes!, 'u8', [rows, columns]),
    scales: wrap(result.scales!, 'f32', [rows, groups]),
    zeros: wrap(result.zeros!, 'u8', [rows, groups]),
    groupOf,
  }
  return { values, dense, losses }
}
