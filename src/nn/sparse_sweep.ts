/**
 * Prunes a matrix column by column, with the error of each column pushed onto the later ones, and rounds what lives to
 * numbers or to a grid. Its arithmetic stands in native/src/sparse_sweep.rs, its oracle beside the test.
 */
import { codeOf } from '../tensor/dtype.ts'
import { NumericalError } from '../tensor/errors.ts'
import { scope, Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { type AffineGrid, groupWidth, neighbourGroups } from './grid.ts'
import { livingOf, packMarks } from './values/bitmask.ts'
import type { MaskedGridValues } from './values/masked_grid.ts'

/** What is pruned beside what the mask prunes already, by |w / U_jj| on weights as corrected so far. */
export type SparseChoice =
  /**
   * Of each slab of columns over all rows so many with the smallest scores; of equal ones the first in row-major order,
   * or with `ties` all of them.
   */
  | { kind: 'slabs'; zeros: Uint32Array; ties?: boolean }
  /** All but n of every m neighbours of a row, chosen when the sweep reaches them; m divides columns and slab. */
  | { kind: 'n:m'; n: number; m: number }

export interface SparseSweepOptions {
  /** Of the weight, for messages. @default 'sweep' */
  name?: string
  /** As of `columnSweep`; without it nothing is corrected, and scores are |w|. */
  factor?: Tensor | undefined
  /** Column of the weight at each position of the sweep. @default first to last */
  order?: Uint32Array | undefined
  /** 0 where a weight is pruned already, 1 where it lives, [rows * columns]. @default all live */
  mask?: Uint8Array | undefined
  /** @default nothing more is pruned */
  choice?: SparseChoice | undefined
  /** Columns of a slab. @default 128 */
  slab?: number
  /** Columns between two updates of all later ones, in a slab; changes speed, not results. @default the slab */
  block?: number
  /** How what lives is rounded. @default to `numbers` */
  grid?: AffineGrid | undefined
  /** Type that living weights are rounded to without a grid. @default that of the weight */
  numbers?: 'f16' | 'bf16' | 'f32' | 'f64'
  /** Groups of the grid are neighbouring columns, fitted before the sweep. @default false: fitted when it reaches them */
  staticGroups?: boolean
  /** Groups see their columns as they were when the block began. @default false */
  stale?: boolean
}

export interface SparseSweepResult {
  /** The chosen values [rows, columns] in the type of the weight; 0 where pruned. */
  dense: Tensor
  /** 1 where a weight lives, 0 where it is pruned, [rows * columns]. */
  mask: Uint8Array
  /** Half the sum of e^2 of each row, [rows]. */
  losses: Tensor
  /** With a grid. */
  values?: MaskedGridValues
}

/**
 * @param weight [rows, columns] in f32 or f64
 * @throws NumericalError where a weight is not finite, or a corrected one is past the range of its type
 */
export function sparseSweep(weight: Tensor, options: SparseSweepOptions): SparseSweepResult {
  const { factor, order, mask, choice, grid, slab = 128, staticGroups = false, stale = false } = options
  const { block = slab, numbers = weight.dtype } = options
  const [rows, columns] = weight.shape as [number, number]
  const width = grid && groupWidth(grid, columns)
  const handles = named(options.name, () =>
    callNative((native) =>
      native.sparseSweep(
        weight.handle,
        factor?.handle,
        order && tensor(order, [columns], 'u32').handle,
        mask && tensor(mask, [rows, columns], 'u8').handle,
        {
          ...{ slab, block, staticGroups, stale, numbers: codeOf(numbers) },
          ...(choice?.kind === 'slabs' && {
            zeros: tensor(choice.zeros, [choice.zeros.length], 'u32').handle,
            ties: choice.ties ?? false,
          }),
          ...(choice?.kind === 'n:m' && { kept: choice.n, of: choice.m }),
          ...(grid && {
            bits: grid.bits,
            groupSize: width!,
            symmetric: grid.symmetric,
            search: grid.search,
            halfScales: grid.scaleType === 'f16',
            zeroLow: grid.zeroLow,
          }),
        },
      ),
    ),
  )
  const { kernels } = weight
  const wrap = (handle: number, dtype: 'u8' | 'f32' | typeof weight.dtype, shape: readonly number[]) =>
    new Tensor(kernels, handle, dtype, shape)
  const dense = wrap(handles.dense, weight.dtype, weight.shape)
  const losses = wrap(handles.losses, weight.dtype, [rows])
  const lives = scope(() => wrap(handles.mask, 'u8', [rows, columns]).toArray() as Uint8Array)
  if (!grid) return { dense, mask: lives, losses }
  const groups = Math.ceil(columns / width!)
  const groupOf = neighbourGroups(columns, width!)
  if (order && !staticGroups)
    order.forEach((column, position) => {
      groupOf[column] = Math.floor(position / width!)
    })
  const codes = scope(() =>
    livingOf(wrap(handles.codes!, 'u8', [rows, columns]).toArray() as Uint8Array, lives),
  )
  const values: MaskedGridValues = {
    kind: 'masked_grid',
    shape: [rows, columns],
    grid,
    mask: packMarks(lives, [rows, columns]),
    codes: tensor(codes, [codes.length], 'u8'),
    scales: wrap(handles.scales!, 'f32', [rows, groups]),
    zeros: wrap(handles.zeros!, 'u8', [rows, groups]),
    groupOf,
  }
  return { dense, mask: lives, losses, values }
}

/** What `run` returns, in a scope of its own, with the name before what it finds wrong with numbers. */
function named<Result>(name = 'sweep', run: () => Result): Result {
  try {
    return scope(run)
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error
    const { code, facts, message } = error
    throw new NumericalError(`${name}: ${message}`, { code, facts, cause: error })
  }
}
