/**
 * OBQ: of each row the weight is rounded first whose rounding changes the output least, and the others make up for it.
 *
 *   H = G + damping * mean(diag G) * I                        Frantar and Alistarh 2022, arXiv:2208.11580, section 5
 *   loss_p = (q(w_p) - w_p)^2 / (2 [H^-1]_pp)                 eq. 7, of the least loss
 *   w <- w - [H^-1]_:p (w_p - q(w_p)) / [H^-1]_pp             eq. 7
 *   H^-1 loses row and column p                               lemma 1
 *   a weight more than half a step outside of its levels goes at once, the farthest first        section 5
 *
 * W is [out, in]; G = X^T X over the inputs of the layer. Scales and zeros of all groups are fitted before the first weight
 * is rounded, and rounded to their stored types. On a layer that an earlier step pruned, its zeros stay exactly 0, nothing
 * makes up for them, and H^-1 is that of the inputs that each row is left with (section 5 of the paper, "quantizing sparse
 * models"). Differs from the published code: grids may have groups of columns; an H without a usable inverse takes more
 * damping, relative to its diagonal.
 */
import { liveWeight, withInverseHessian } from '../calibrate/inverse_hessian.ts'
import { checkDamping, checkLayer } from '../calibrate/layer_checks.ts'
import type { WeightMethod } from '../calibrate/method.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import { obsQuantize } from '../nn/greedy_obs.ts'
import type { AffineGrid, AffineValues } from '../nn/grid.ts'
import { livingOf, packMarks } from '../nn/values/bitmask.ts'
import type { MaskedGridValues } from '../nn/values/masked_grid.ts'
import { storedSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { tensor } from '../tensor/index.ts'

export interface ObqOptions {
  /**
   * Added to the diagonal of H, as a share of its mean, from 0 on; 0.01, 0.1 and 1 follow where it does not help. Raise it
   * where results get worse on other data. @default 0, or 0.01 where there are fewer tokens than inputs
   */
  damping?: number
  /** Searches a narrower range for each group (80 steps, error to the power 2.4), whatever the grid says. @default true */
  search?: boolean
  /** The weight that costs least, or the columns from first to last as GPTQ takes them. @default 'greedy' */
  order?: 'greedy' | 'columns'
  /** Where no damping gives an inverse: stop, or round to nearest and say so. @default 'throw' */
  onSingular?: 'throw' | 'round'
}

/**
 * @throws OptionError here for impossible options and from `compress` for a grid of blocks, NumericalError from `compress`
 * where H has no inverse
 * @example obq().compress({ name, dense, current: dense, statistics, grid: affineGrid({ bits: 3, groupSize: 'row' }) })
 */
export function obq(options: ObqOptions = {}): WeightMethod {
  const { damping, search = true, order = 'greedy', onSingular = 'throw' } = options
  checkDamping('obq', damping)
  if (order !== 'greedy' && order !== 'columns')
    throw new OptionError(`obq: the order must be greedy or columns, got ${order}`)
  return {
    name: 'obq',
    needs: ['gram'],
    compress(task) {
      const { name, current, mask, statistics } = task
      checkLayer('obq', task)
      const grid = affineOnly(name, task.grid, search)
      const edit = (values: AffineValues, notes: string[], used?: number) => {
        const source = storedSource(mask ? maskedValues(values, mask) : values)
        const diagnostics = { ...(used !== undefined && { damping: used }), notes }
        return { source, decoded: source.dense(), ...(mask && { mask }), diagnostics }
      }
      const [rows, columns] = current.shape as [number, number]
      const given = order === 'columns' ? Uint32Array.from({ length: columns }, (_, i) => i) : undefined
      /** Scales and zeros, and the codes of rounding to nearest, of a weight without what is pruned or never used. */
      const fitted = (dead: readonly number[]) => {
        const weight = tensor(liveWeight(current, dead, mask), [rows, columns], 'f64')
        return { weight, values: columnSweep(weight, { grid }).values as AffineValues }
      }
      try {
        const {
          result,
          notes,
          damping: used,
        } = withInverseHessian({ name, statistics, damping }, (hessian) => {
          const { weight, values } = fitted(hessian.dead)
          const { scales, zeros, groupOf } = values
          const levels = { bits: grid.bits, scales, zeros, groupOf, order: given }
          const found = obsQuantize({ weight, inverse: hessian.inverse, mask }, levels)
          return found && { ...values, codes: found.codes }
        })
        return edit(result, notes, used)
      } catch (error) {
        // Inputs that are not finite mean a damaged model, which rounding would only hide.
        const singular = error instanceof NumericalError && error.code === 'PARE_E_SINGULAR'
        if (!singular || onSingular === 'throw') throw error
        return edit(fitted([]).values, ['rounded to nearest, since its Gram matrix has no usable inverse'])
      }
    },
  }
}

/** Codes of what lives, with a bit for each place. */
function maskedValues({ codes, ...rest }: AffineValues, mask: Uint8Array): MaskedGridValues {
  const shape = codes.shape as [number, number]
  const living = livingOf(codes.toArray() as Uint8Array, mask)
  return {
    ...rest,
    kind: 'masked_grid',
    shape,
    mask: packMarks(mask, shape),
    codes: tensor(living, [living.length], 'u8'),
  }
}

function affineOnly(name: string, grid: WeightGrid, search: boolean): AffineGrid {
  if (grid?.kind === 'affine') return { ...grid, search }
  const found = grid ? `blocks of ${grid.type}` : 'none'
  throw new OptionError(
    `${name}: obq rounds to grids of evenly spaced levels, got ${found}; give --bits, or use gptq for this type`,
  )
}

type WeightGrid = Parameters<WeightMethod['compress']>[0]['grid']
