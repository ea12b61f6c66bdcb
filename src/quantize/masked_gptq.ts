/**
 * GPTQ, or round to nearest, of a weight that was pruned before: zeros stay 0, and what lives goes to its grid.
 *
 *   H = X^T X + damping * mean(diag H) * I,  H^-1 = U^T U     Frantar et al. 2022, arXiv:2210.17323, section 3
 *   q_i = 0 where pruned, else the nearest level              Frantar and Alistarh 2023, arXiv:2301.00774, section 3.5
 *   e = (w_i - q_i) / U_ii,  w_j <- w_j - e U_ij for j > i
 *
 * W is [out, in]. A pruned column gathers corrections as the others do; what it has gathered is its error, and goes on
 * to the columns behind it. Only codes of what lives are stored, beside one bit for each place.
 */
import { checkBlockSize, checkDamping, layerFactor } from '../calibrate/layer_factor.ts'
import type { LayerEdit, LayerMethod, LayerTask } from '../calibrate/method.ts'
import { squaresOf } from '../calibrate/statistics.ts'
import type { AffineGrid } from '../nn/grid.ts'
import { type SparseSweepOptions, sparseSweep } from '../nn/sparse_sweep.ts'
import { storedSource } from '../nn/values/values.ts'
import { OptionError } from '../tensor/errors.ts'
import type { GptqOptions } from './gptq.ts'

/**
 * @param options of gptq, of the same meaning; rtn reads none
 * @throws OptionError here for impossible options, from `compress` for a task without a mask or without evenly spaced
 *   levels; NumericalError from `compress` where H has no factor
 * @example maskedQuantizer('gptq').compress({ name, dense, current, mask, statistics: { gram, rows }, grid })
 */
export function maskedQuantizer(method: 'gptq' | 'rtn', options: GptqOptions = {}): LayerMethod {
  const { damping = 0.01, actOrder = false, staticGroups = false, staleGroups = false } = options
  const { blockSize = 128, onSingular = 'throw' } = options
  checkDamping(damping)
  checkBlockSize(blockSize)
  if (method === 'rtn')
    return { name: 'rtn', needs: [], compress: (task) => rounded(task, task.current, {}, { notes: [] }) }
  return {
    name: 'gptq',
    needs: ['gram'],
    compress(task) {
      const { gram } = task.statistics
      const order = actOrder && gram ? falling(squaresOf(gram)) : undefined
      const { weight, factor, ...diagnostics } = layerFactor(task, {
        method: 'gptq',
        damping,
        order,
        onSingular,
      })
      if (!factor)
        return rounded(
          task,
          weight,
          {},
          {
            notes: ['rounded to nearest, since its Gram matrix has no factor'],
          },
        )
      const sweep = { factor, order, staticGroups, slab: blockSize, stale: staleGroups }
      return rounded(task, weight, sweep, diagnostics)
    },
  }
}

function rounded(
  task: LayerTask,
  weight: LayerTask['current'],
  sweep: SparseSweepOptions,
  diagnostics: LayerEdit['diagnostics'],
): LayerEdit {
  const { mask } = task
  if (!mask)
    throw new OptionError(
      `${task.name}: needs the mask of the step that pruned it; put a pruning step before`,
    )
  const { dense, values } = sparseSweep(weight, { ...sweep, name: task.name, mask, grid: affineOf(task) })
  const decoded = dense.dtype === 'f32' ? dense : dense.cast('f32')
  return { source: storedSource(values!), decoded, mask, diagnostics }
}

function affineOf({ name, grid }: LayerTask): AffineGrid {
  if (grid?.kind === 'affine') return grid
  throw new OptionError(
    `${name}: pruned weights are stored on evenly spaced levels, got ${grid ? grid.type : 'no grid'}; choose bits and groups, with --target pare`,
  )
}

/** Columns from the largest to the smallest number; of equals the earlier first. */
const falling = (numbers: Float64Array): Uint32Array =>
  Uint32Array.from(numbers, (_, i) => i).sort((a, b) => numbers[b]! - numbers[a]! || a - b)
