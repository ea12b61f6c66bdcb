/**
 * GPTQ: columns are rounded one after the other, and each rounding error is pushed onto the columns still to come.
 *
 *   H = X^T X + damping * mean(diag H) * I       Frantar et al. 2022, arXiv:2210.17323, section 3.2
 *   H^-1 = U^T U, U upper                        section 3.3, step 3
 *   e = (w_i - q_i) / U_ii                       eq. 2, for all rows at once (step 1)
 *   w_j <- w_j - e U_ij,  j > i                  eq. 3, in lazy blocks (step 2)
 *
 * W is [out, in]; X holds the inputs of the layer, one token a row. Scales are rounded to their stored type before
 * the sweep. Differs from the first published code: a group is fitted on weights that have all updates so far
 * (`staleGroups` gives the other), and groups end with the row where their size does not divide it.
 */

import { inverseFactor } from '../calibrate/inverse_factor.ts'
import type { WeightMethod } from '../calibrate/method.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import { gridSource } from '../nn/grid.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'

export interface GptqOptions {
  /** Added to the diagonal, as a share of its mean; above 0. Where H has no factor, 0.01, 0.1 and 1 follow. @default 0.01 */
  damping?: number
  /** Sweeps the columns with the largest diag(H) first; not for Q3_K. @default false */
  actOrder?: boolean
  /** Groups are neighbouring columns fitted before the sweep, so that act-order costs nothing at run time. @default false */
  staticGroups?: boolean
  /** Columns between two updates of all later ones; changes speed, not results. @default 128 */
  blockSize?: number
  /** Groups see their columns as they were when the block began, as the first published code does. @default false */
  staleGroups?: boolean
  /** Where no damping gives a factor: stop, or round to nearest and say so. @default 'throw' */
  onSingular?: 'throw' | 'round'
}

/**
 * @throws OptionError here for impossible options, NumericalError from `compress` where H has no factor.
 * @example gptq({ actOrder: true }).compress({ name, dense, current: dense, statistics, grid })
 */
export function gptq(options: GptqOptions = {}): WeightMethod {
  const {
    damping = 0.01,
    actOrder = false,
    staticGroups = false,
    blockSize = 128,
    staleGroups = false,
    onSingular = 'throw',
  } = options
  if (!(damping > 0 && Number.isFinite(damping)))
    throw new OptionError(`damping must be above 0, got ${damping}; 0.01 is usual`)
  if (!(Number.isInteger(blockSize) && blockSize >= 1)) {
    throw new OptionError(`the block size must be a whole number from 1 on, got ${blockSize}; 128 is usual`)
  }
  return {
    name: 'gptq',
    needs: ['gram'],
    compress({ name, current, statistics, grid }) {
      const { gram } = statistics
      if (!gram) throw new OptionError(`${name}: gptq needs the Gram matrix of the layer's inputs`)
      const notes: string[] = []
      // As IST-DASLab/gptq-gguf-toolkit does.
      const unsorted = grid.kind === 'blocks' && grid.type === 'Q3_K'
      if (actOrder && unsorted)
        notes.push('swept in the order of the file, since act-order is left out for Q3_K')
      const order = actOrder && !unsorted ? descendingDiagonal(gram) : undefined
      // Block types keep neighbouring columns together, so another order needs groups fitted before.
      const fixed = staticGroups || (order !== undefined && grid.kind === 'blocks')
      let solved: ReturnType<typeof inverseFactor>
      try {
        solved = inverseFactor(gram, { damping, order, dtype: current.dtype === 'f64' ? 'f64' : 'f32' })
      } catch (error) {
        if (!(error instanceof NumericalError)) throw error
        // Inputs that are not finite mean a damaged model, which rounding would only hide.
        if (onSingular === 'throw' || error.code !== 'PARE_E_SINGULAR')
          throw new NumericalError(`${name}: ${error.message}`, {
            code: error.code,
            facts: error.facts,
            cause: error,
          })
        const { values, dense } = columnSweep(current, { grid })
        notes.push('rounded to nearest, since its Gram matrix has no factor')
        return { source: gridSource(values), decoded: dense, diagnostics: { notes } }
      }
      const { factor, dead } = solved
      if (solved.damping > damping) notes.push(`damping raised to ${solved.damping}`)
      if (dead.length > 0) notes.push(`${dead.length} inputs are always 0`)
      if (statistics.rows < current.extent(1))
        notes.push(`only ${statistics.rows} tokens for ${current.extent(1)} inputs`)
      const weight = dead.length > 0 ? withoutColumns(current, dead) : current
      const { values, dense } = columnSweep(weight, {
        grid,
        factor,
        order,
        staticGroups: fixed,
        block: blockSize,
        stale: staleGroups,
      })
      return { source: gridSource(values), decoded: dense, diagnostics: { damping: solved.damping, notes } }
    },
  }
}

/** Columns from the largest to the smallest diagonal entry; of equals the earlier first. */
function descendingDiagonal(gram: Tensor): Uint32Array {
  const n = gram.extent(0)
  const diagonal = gram
    .reshape([n * n])
    .slice(0, 0, n * n, n + 1)
    .toArray() as Float64Array
  return Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => diagonal[b]! - diagonal[a]! || a - b)
}

/** A copy of the weight with 0 in some columns. */
function withoutColumns(weight: Tensor, columns: readonly number[]): Tensor {
  const kept = new Float64Array(weight.extent(1)).fill(1)
  for (const column of columns) kept[column] = 0
  return weight.mul(tensor(kept, [1, kept.length], weight.dtype))
}
