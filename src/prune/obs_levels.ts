/**
 * Sparse levels of one weight, all from one run of ExactOBS: rows give up their units in one order, and a level is a prefix
 * of it (Frantar and Alistarh 2022, arXiv:2208.11580, section 4).
 */
import { liveWeight, withInverseHessian } from '../calibrate/inverse_hessian.ts'
import { checkDamping, checkLayer } from '../calibrate/layer_checks.ts'
import { type Level, type LevelsMethod, relativeOutputError } from '../calibrate/levels.ts'
import { type ObsProblem, obsRows, obsTrace } from '../nn/greedy_obs.ts'
import { decodeBitmask, packMarks } from '../nn/values/bitmask.ts'
import { OptionError } from '../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../tensor/index.ts'
import { countsAt, type ExactObsOptions, maskAfter } from './exact_obs.ts'
import { obsPattern } from './obs_pattern.ts'
import { unstructured } from './pattern.ts'

export interface ObsLevelsOptions extends Omit<ExactObsOptions, 'sparsity' | 'numbers'> {
  /** In [0, 1], rising. @default 1 - 0.9^i up to 0.99, of blocks up to 0.95 */
  sparsities?: readonly number[]
  /** Type of the kept weights. @default 'f32' */
  numbers?: 'f16' | 'f32'
}

/** 0 and 1 - 0.9^i, each a tenth of what is left sparser than the one before. @example sparsityLevels(0.2) // [0, 0.1, 0.19] */
export function sparsityLevels(most = 0.99): number[] {
  const levels: number[] = []
  for (let i = 0; 1 - 0.9 ** i <= most; i++) levels.push(1 - 0.9 ** i)
  return levels
}

/** What a profile calls a sparsity. */
export const sparsityName = (sparsity: number): string => `sparse ${sparsity.toFixed(4)}`

/** Values of a level that are in memory at once, for a number of rows. */
const VALUES = 2 ** 23

/**
 * @throws OptionError here for impossible options
 * @example database.add({ name, shape, uses: 1 }, obsLevels().levels({ name, dense, current: dense, statistics }))
 */
export function obsLevels(options: ObsLevelsOptions = {}): LevelsMethod {
  const { pattern = unstructured, selection = 'heap', damping, numbers = 'f32' } = options
  const shape = obsPattern('obs', pattern)
  if (shape.kind === 'n:m') throw new OptionError('obs: levels of n:m have one sparsity; take exactObs')
  const { sparsities = sparsityLevels(shape.width > 1 ? 0.95 : 0.99) } = options
  const isRising = sparsities.every((s, i) => s >= 0 && s <= 1 && (i === 0 || s > sparsities[i - 1]!))
  if (!isRising || sparsities.length === 0)
    throw new OptionError(`obs: sparsities must rise within [0, 1], got [${sparsities}]`)
  checkDamping('obs', damping)
  return {
    name: 'obs',
    needs: ['gram'],
    *levels(task) {
      checkLayer('obs', task)
      const { name, current, mask, statistics } = task
      const gram = statistics.gram!
      const { result } = withInverseHessian({ name, statistics, damping }, ({ inverse, dead }) => {
        const weight = tensor(liveWeight(current, dead, mask), current.shape, 'f64')
        const problem: ObsProblem = { weight, inverse, mask }
        const trace = obsTrace(problem, shape.width)
        if (!trace) return undefined
        const counts = sparsities.map((sparsity) => countsAt(problem, trace, sparsity, selection))
        const masks = counts.map((count) => maskAfter(problem, trace, count))
        const kept = keptValues(problem, trace, counts, masks)
        return kept && { masks, kept }
      })
      const [rows, columns] = current.shape as [number, number]
      for (const [i, sparsity] of sparsities.entries()) {
        const [own, living] = [result.masks[i]!, result.kept[i]!]
        const stored = packMarks(own, [rows, columns])
        const level: Level = scope(() => {
          const kept = tensor(living, [living.length], numbers)
          const decoded = decodeBitmask({ kind: 'bitmask', shape: [rows, columns], mask: stored, kept })
          return {
            level: sparsityName(sparsity),
            values: {
              kind: 'numbers',
              shape: [rows, columns],
              kept,
              ...(own.includes(0) && { mask: stored }),
            },
            error: relativeOutputError(task.dense, decoded, gram),
          }
        })
        yield level
      }
    },
  }
}

/** What each level keeps, in f32; rows are run some at a time, so that not all levels of all of them are there at once. */
function keptValues(
  { weight, inverse, mask }: ObsProblem,
  trace: NonNullable<ReturnType<typeof obsTrace>>,
  counts: readonly Uint32Array[],
  masks: readonly Uint8Array[],
): Float32Array[] | undefined {
  const [rows, columns] = weight.shape as [number, number]
  const kept = masks.map((own) => new Float32Array(own.reduce((sum, bit) => sum + bit, 0)))
  const places = new Uint32Array(masks.length)
  const step = Math.max(1, Math.floor(VALUES / (columns * counts.length)))
  for (let start = 0; start < rows; start += step) {
    const end = Math.min(rows, start + step)
    const part = (x: Uint8Array) => x.subarray(start * columns, end * columns)
    const dense: Tensor | undefined = obsRows(
      { weight: weight.slice(0, start, end).contiguous(), inverse, mask: mask && part(mask) },
      { ...trace, order: trace.order.subarray(start * trace.units, end * trace.units) },
      counts.map((count) => count.subarray(start, end)),
    )
    if (!dense) return undefined
    const values = dense.toArray() as Float64Array
    for (const [level, own] of masks.entries()) {
      const from = level * (end - start) * columns
      for (const [i, bit] of part(own).entries()) if (bit) kept[level]![places[level]!++] = values[from + i]!
    }
  }
  return kept
}
