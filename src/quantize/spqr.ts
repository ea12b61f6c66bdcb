/**
 * SpQR: very small groups whose scales are codes themselves, and single outliers beside them in 16 bits.
 *
 *   H = X^T X + damping * mean(diag H) * I,   H^-1 = U^T U, d_j = U_jj      the sweep of GPTQ, see gptq.ts
 *   outlier    ((w - w^) / d)^2 > t,  t = threshold * mean_j(var(W_j) / d_j^2)
 *   group      s = (hi - lo) / (2^b - 1), z = -lo / s, over the weights whose absence lowers the sum of
 *              ((w - w^) / d)^2 of the group by t or less
 *   scales     code = round(s / S + Z), s~ = S (code - Z) of 16 rows together; zeros likewise
 *
 * Dettmers et al. 2023, arXiv:2306.03078, section 4 and algorithm 1. S, Z and outliers are rounded to f16 before the
 * sweep goes on, so that the result is what readers compute. Differs from the published code: outliers are stored as what
 * they add to their code, and pass on what rounding them left; a group of equal weights is stored as that weight; rows of
 * zeros do not widen the range of the scales beside them; and inputs that are always 0 count as 1 in the mean diagonal.
 */
import type { LayerMethod } from '../calibrate/method.ts'
import { sweepInputs } from '../calibrate/sweep_inputs.ts'
import { spqrSweep } from '../nn/spqr_sweep.ts'
import { bitsOfStored, storedSource } from '../nn/values/values.ts'
import { OptionError } from '../tensor/errors.ts'

export interface SpqrOptions {
  /** Bits of a weight, 2 to 8; only 3 can be written for transformers. @default 3 */
  bits?: number
  /** Columns that share a scale and a zero, 1 to 65536; a divisor of the columns. More saves bits and loses accuracy. @default 16 */
  groupSize?: number
  /** Bits of a scale, 1 to 8. @default 3 */
  scaleBits?: number
  /** Bits of a zero, 1 to 8; with `roundZero` a zero has the bits of a weight. @default 3 */
  zeroBits?: number
  /** Rows that share the scales of scales and zeros: 1, 2, 4, 8 or 16, a divisor of the rows. @default 16 */
  tileRows?: number
  /** Scales and zeros are codes; otherwise each is an f16, which costs about 1.4 bits a weight more. @default true */
  secondOrder?: boolean
  /** Smaller keeps more outliers, 32 bits each: 0 keeps all, 0.1 to 0.5 about one in a hundred, Infinity none. @default 0.2 */
  outlierThreshold?: number
  /** Groups are fitted with their outliers, which is faster and worse. @default false */
  simplifiedOutliers?: boolean
  /** Zeros are whole codes and 0 is a level: fewer bits, larger errors. @default false */
  roundZero?: boolean
  /** Sweeps the columns with the largest diag(H) first; readers then gather their inputs. @default true */
  actOrder?: boolean
  /**
   * Added to the diagonal, as a share of its mean; above 0. The default is what the authors took for LLaMA, where
   * small groups and outliers follow the calibration text closely; they have 0.01 elsewhere. @default 1
   */
  damping?: number
  /** Columns between two updates of all later ones, a multiple of the group; changes no result. @default 128, or the nearest multiple below */
  blockSize?: number
  /** Where no damping gives a factor: stop, or round each group by itself and say so. @default 'throw' */
  onSingular?: 'throw' | 'round'
}

/**
 * @throws OptionError here for impossible options, from `compress` where groups or runs of rows do not divide the weight;
 *   NumericalError from `compress` where H has no factor, or weights leave the range of f16.
 * @example spqr({ outlierThreshold: 0.1 }).compress({ name, dense, current: dense, statistics })
 */
export function spqr(options: SpqrOptions = {}): LayerMethod {
  const {
    bits = 3,
    groupSize = 16,
    scaleBits = 3,
    zeroBits = 3,
    tileRows = 16,
    secondOrder = true,
    outlierThreshold = 0.2,
    simplifiedOutliers = false,
    roundZero = false,
    actOrder = true,
    damping = 1,
    blockSize = groupSize * Math.max(1, Math.floor(128 / groupSize)),
    onSingular = 'throw',
  } = options
  checkWhole('bits', bits, 2, 8)
  checkWhole('the group size', groupSize, 1, 65536)
  checkWhole('bits of scales', scaleBits, 1, 8)
  checkWhole('bits of zeros', zeroBits, 1, 8)
  if (![1, 2, 4, 8, 16].includes(tileRows))
    throw new OptionError(`tiles of 1, 2, 4, 8 or 16 rows are possible, got ${tileRows}; 16 is usual`)
  if (!(outlierThreshold >= 0))
    throw new OptionError(`the outlier threshold must be 0 or more, got ${outlierThreshold}; 0.2 is usual`)
  if (!(damping > 0 && Number.isFinite(damping)))
    throw new OptionError(`damping must be above 0, got ${damping}; 1 is usual`)
  if (!(Number.isInteger(blockSize) && blockSize >= 1 && blockSize % groupSize === 0))
    throw new OptionError(
      `the block size must be a multiple of the group of ${groupSize}, got ${blockSize}; use ${Math.max(1, Math.floor(blockSize / groupSize)) * groupSize}`,
    )
  return {
    name: 'spqr',
    needs: ['gram'],
    compress(task) {
      const { name, current } = task
      const [rows, columns] = current.shape as [number, number]
      if (columns % groupSize !== 0)
        throw new OptionError(
          `${name}: spqr needs columns that the group size ${groupSize} divides, got ${columns}; choose another group size or leave this layer out`,
          { facts: { columns, groupSize } },
        )
      if (secondOrder && rows % tileRows !== 0)
        throw new OptionError(
          `${name}: spqr needs rows that the tile of ${tileRows} rows divides, got ${rows}; use a smaller tile or leave this layer out`,
          { facts: { rows, tileRows } },
        )
      const {
        weight,
        factor,
        order,
        damping: used,
        notes,
      } = sweepInputs(task, {
        method: 'spqr',
        ...{ damping, actOrder, onSingular },
      })
      const { values, dense, outliers } = spqrSweep(weight, {
        ...{ bits, groupSize, roundZero, factor, order },
        second: secondOrder ? { scaleBits, zeroBits, run: tileRows } : undefined,
        threshold: outlierThreshold,
        leaveOneOut: !simplifiedOutliers,
        block: blockSize,
      })
      const share = ((100 * outliers) / (rows * columns)).toFixed(2)
      const perWeight = (bitsOfStored(values) / (rows * columns)).toFixed(3)
      notes.push(`${outliers} outliers (${share}%), ${perWeight} bits a weight`)
      return {
        source: storedSource(values),
        decoded: dense,
        diagnostics: { ...(used !== undefined && { damping: used }), notes },
      }
    },
  }
}

function checkWhole(what: string, value: number, least: number, most: number): void {
  if (!(Number.isInteger(value) && value >= least && value <= most))
    throw new OptionError(`${what} must be a whole number from ${least} to ${most}, got ${value}`)
}
