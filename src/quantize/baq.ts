/**
 * BAQ: GPTQ on one range a row, where every input column gets its own number of levels, so that all columns lose the same.
 *
 *   L_j = sum_i e_ij^2 / 2      losses of the columns in a sweep at one rate; or 1 / d_j^2, which they follow
 *   N_j                         from L_j in closed form, see level_allocation.ts
 *   s_ij = (hi_i - lo_i) / (N_j - 1), z_ij = round(-lo_i / s_ij), with 0 between lo and hi      then as gptq.ts
 *
 * arXiv:2506.05664. W is [out, in]. lo and hi are rounded to f16 before the sweep. Differs from the published code: losses
 * are measured on the same inputs that the sweep then uses, not on those of a first walk over the model; inputs that are
 * always 0 take no part and get no bits; a column of one level is 0 without a step.
 */
import { checkDamping } from '../calibrate/layer_factor.ts'
import type { LayerMethod } from '../calibrate/method.ts'
import { type SweepInputs, sweepInputs } from '../calibrate/sweep_inputs.ts'
import { type LevelSweepResult, levelSweep } from '../nn/level_sweep.ts'
import { storedSource } from '../nn/values/values.ts'
import { OptionError } from '../tensor/errors.ts'
import { type Allocation, bitsAboveMean, levelCounts, wholeBitCounts } from './level_allocation.ts'

export interface BaqOptions {
  /** Mean bits of a weight by its levels, 1 to 8 and any fraction; what is stored is some 1 to 5% more. @default 3 */
  bits?: number
  /** Losses of a sweep at one rate, or what theory expects of them, which is half the work. @default 'measured' */
  losses?: 'measured' | 'theory'
  /** Slope of losses over bits, above 0: 2 by theory; the authors measured less. @default 1.95 */
  exponent?: number
  /** Columns of two levels have them around the middle of the range, where otherwise one is 0 and the other at its end; pays below 3 bits. @default false */
  centred?: boolean
  /** Levels are powers of two, for kernels that read whole bits; a bit worse. @default false */
  integerBits?: boolean
  /** Sweeps the columns with the largest diag(H) first; costs nothing in the file. @default false */
  actOrder?: boolean
  /** Added to the diagonal, as a share of its mean; above 0. Where H has no factor, 0.01, 0.1 and 1 follow. @default 0.01 */
  damping?: number
  /** Where no damping gives a factor: stop, or round to nearest at one rate and say so. @default 'throw' */
  onSingular?: 'throw' | 'round'
}

/**
 * @throws OptionError here for impossible options, NumericalError from `compress` where H has no factor.
 * @example baq({ bits: 2.5 }).compress({ name, dense, current: dense, statistics })
 */
export function baq(options: BaqOptions = {}): LayerMethod {
  const {
    bits = 3,
    losses = 'measured',
    exponent = 1.95,
    centred = false,
    integerBits = false,
    actOrder = false,
    damping = 0.01,
    onSingular = 'throw',
  } = options
  if (!(bits >= 1 && bits <= 8)) throw new OptionError(`bits must be a number from 1 to 8, got ${bits}`)
  if (!['measured', 'theory'].includes(losses))
    throw new OptionError(`losses are measured or of theory, got ${losses}`)
  if (!(exponent > 0 && Number.isFinite(exponent)))
    throw new OptionError(`the exponent must be above 0, got ${exponent}; 1.95 is usual`)
  checkDamping(damping)
  const allocation = { bits, exponent }
  const allocate = integerBits ? wholeBitCounts : levelCounts
  return {
    name: 'baq',
    needs: ['gram'],
    compress(task) {
      const inputs = sweepInputs(task, { method: 'baq', damping, actOrder, onSingular })
      const { weight, factor, order, notes } = inputs
      const sweep = (levels: Uint16Array) => levelSweep(weight, { levels, centred, factor, order })
      const columns = weight.extent(1)
      const dead = new Set(inputs.dead)
      const live = Array.from({ length: columns }, (_, column) => column).filter(
        (column) => !dead.has(column),
      )
      const uniform = new Uint16Array(columns).fill(Math.max(2, Math.round(2 ** bits)))
      const first = losses === 'measured' ? sweep(uniform) : undefined
      const found = first?.losses ?? sensitivities(inputs)
      const counts = allocate(
        live.map((column) => found[column]!),
        allocation,
      )
      const levels = new Uint16Array(columns).fill(1)
      for (const [i, column] of live.entries()) levels[column] = counts[i]!
      const result = sweep(levels)
      notes.push(...ratesOf(result, live.length), ...gainOf(first, result, live, allocation))
      return {
        source: storedSource(result.values),
        decoded: result.dense,
        diagnostics: { ...(inputs.damping !== undefined && { damping: inputs.damping }), notes },
      }
    },
  }
}

/** 1 / d_j^2 of each column of the weight: rows share their ranges, so that losses follow it. */
function sensitivities({ weight, factor, order }: SweepInputs): Float64Array {
  const n = weight.extent(1)
  if (!factor) return new Float64Array(n).fill(1)
  const diagonal = factor
    .reshape([n * n])
    .slice(0, 0, n * n, n + 1)
    .toArray()
  const found = new Float64Array(n)
  for (let position = 0; position < n; position++)
    found[order?.[position] ?? position] = 1 / Number(diagonal[position]) ** 2
  return found
}

/** The rate by levels, as packed, and as it would be in whole bits; and what became of columns and ranges. */
function ratesOf({ values, clipped }: LevelSweepResult, live: number): string[] {
  const [rows, columns] = values.shape
  const bits = Array.from(values.levels.toArray() as Uint16Array, Math.log2)
  const mean = (each: readonly number[]) => (each.reduce((a, b) => a + b, 0) / columns).toFixed(3)
  const packed = ((values.words.size * 64) / (rows * columns)).toFixed(3)
  const pruned = bits.filter((count) => count === 0).length - (columns - live)
  const single = bits.filter((count) => count === 1).length
  return [
    `${mean(bits)} bits a weight by levels, ${packed} packed, ${mean(bits.map(Math.ceil))} in whole bits`,
    ...(pruned > 0 ? [`${pruned} columns are pruned`] : []),
    ...(single > 0 ? [`${single} columns have two levels`] : []),
    ...(clipped > 0 ? [`${clipped} weights were beyond the range of their row`] : []),
  ]
}

/** What closed form and measurement say of the loss beside that at one rate. */
function gainOf(
  first: LevelSweepResult | undefined,
  { losses }: LevelSweepResult,
  live: readonly number[],
  { exponent }: Allocation,
): string[] {
  const total = (of: Float64Array) => live.reduce((sum, column) => sum + of[column]!, 0)
  const before = first ? total(first.losses) : 0
  if (!first || before === 0) return []
  const own = live.map((column) => first.losses[column]!)
  // GM / AM: the mean of the logarithms is what the first column lies below its own.
  const above = bitsAboveMean(own, exponent)
  const expected = (own[0]! * 2 ** (-exponent * above[0]!) * own.length) / before
  return [`loss ${(total(losses) / before).toFixed(3)} of that at one rate, ${expected.toFixed(3)} expected`]
}
