/**
 * QuIP: the weight is turned by random orthogonal matrices, so that no weight and no direction of the inputs stands out, and
 * then rounded with LDL feedback to one grid for the whole matrix.
 *
 *   t_c = (H_cc / (W^T W)_cc)^(1/4),   W <- W diag(t),   H <- diag(t)^-1 H diag(t)^-1        Chee et al. 2023,
 *   H <- H n / tr(H) + damping I                                                             arXiv:2307.13304, algorithm 1
 *   W <- U W V^T,   H <- V H V^T,   U and V of random_orthogonal.ts
 *   H <- H + damping mean(diag H) I
 *   levels of even distance from -rho rms(W) to rho rms(W)
 *   Q = ldlq(W, H),   W' = U^T Q V diag(t)^-1                                                algorithm 2
 *
 * W is [out, in]. 1 / t, of geometric mean 1, is rounded to f16 and the scale to f32 before anything is rounded on them.
 * Differs from the published code: inputs that are always 0 take no part in t; U and V are rebuilt from a seed, and leave a few
 * places as they are where a size has no small factors.
 */
import { checkLayer } from '../calibrate/layer_checks.ts'
import { checkDamping, type LayerFactor, layerFactor } from '../calibrate/layer_factor.ts'
import type { LayerMethod, LayerTask } from '../calibrate/method.ts'
import { squaresOf } from '../calibrate/statistics.ts'
import { type RotatedGridValues, rotationsOf, turnBoth } from '../nn/values/rotated_grid.ts'
import { isTurnable, largestOrthogonal, mostTurned } from '../nn/values/rotation_sizes.ts'
import { storedSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
import { greedyPass, ldlq, reversed } from './ldlq.ts'

export interface QuipOptions {
  /** Bits of a code, 1 to 8. Made for 2; from 4 on a grid of its own for every group is better. @default 2 */
  bits?: number
  /** The outermost levels, in root mean squares of the matrix; above 0. About 1.6 loses a third less at 2 bits; 8 bits want 4. @default 2.4 */
  rho?: number
  /** With feedback, or each weight to its nearest level, which shows what the turning alone gives. @default 'ldlq' */
  rounding?: 'ldlq' | 'nearest'
  /** Passes over all codes afterwards at most, 0 to 100, each to its best level while others stay: slow, and a bit better. @default 0 */
  greedyPasses?: number
  /** Added to the diagonal before and after the turning, as a share of its mean; above 0. Where H has no factor, 0.01, 0.1 and 1 follow. @default 0.01 */
  damping?: number
  /** Where no damping gives a factor: stop, or round to nearest and say so. @default 'throw' */
  onSingular?: 'throw' | 'round'
  /** Of U and V, together with the name of the weight. @default 0 */
  seed?: number
}

/**
 * @throws OptionError here for impossible options, and from `compress` for a weight of more than 2^18 rows or columns or 2^28
 *   weights; NumericalError from `compress` where H has no factor.
 * @example quip({ bits: 2 }).compress({ name, dense, current: dense, statistics })
 */
export function quip(options: QuipOptions = {}): LayerMethod {
  const {
    bits = 2,
    rho = 2.4,
    rounding = 'ldlq',
    greedyPasses = 0,
    damping = 0.01,
    onSingular = 'throw',
    seed = 0,
  } = options
  if (!(Number.isInteger(bits) && bits >= 1 && bits <= 8))
    throw new OptionError(`bits must be a whole number from 1 to 8, got ${bits}; 2 is usual`)
  if (!(rho > 0 && Number.isFinite(rho)))
    throw new OptionError(`rho must be above 0, got ${rho}; 2.4 is usual`)
  if (!['ldlq', 'nearest'].includes(rounding))
    throw new OptionError(`rounding is ldlq or nearest, got ${rounding}`)
  if (!(Number.isInteger(greedyPasses) && greedyPasses >= 0 && greedyPasses <= 100))
    throw new OptionError(`greedy passes are a whole number from 0 to 100, got ${greedyPasses}; 0 is usual`)
  checkDamping(damping)
  return {
    name: 'quip',
    needs: ['gram'],
    compress(task) {
      checkWeight(task)
      const { name, current } = task
      const made = scope(() => {
        const { columnScales, live, dead } = columnScalesOf(task)
        const own = randomSeed(seed, name)
        const rotations = rotationsOf(own, current.shape as [number, number])
        const weight = scope(() => turnBoth(rotations, current.cast('f64').div(columnScales).mul(live)))
        const sides = { left: rotations.right, right: rotations.right }
        const hessian = scope(() => turnBoth(sides, evened(task.statistics.gram!, columnScales, damping)))
        const levels = { bits, scale: scaleOf(name, weight, rho) }
        const notes = dead > 0 ? [`${dead} inputs are always 0`] : []
        const known: Pick<LayerFactor, 'factor' | 'damping' | 'notes'> =
          rounding === 'ldlq' ? factorOf(task, { weight, hessian, damping, onSingular }) : { notes: [] }
        notes.push(...known.notes)
        const codes = ldlq(weight, levels, known.factor)
        if (rounding === 'ldlq' && !known.factor)
          notes.push('rounded to nearest, since its Gram matrix has no factor')
        else
          for (let pass = 0; pass < greedyPasses; pass++)
            if (greedyPass(weight, hessian, levels, codes) === 0) break
        const values: RotatedGridValues = {
          ...{ kind: 'rotated_grid', bits, scale: levels.scale, seed: own },
          codes: tensor(codes, current.shape, 'u8'),
          columnScales: columnScales.cast('f32'),
        }
        return { values, notes, damping: known.damping }
      })
      const source = storedSource(made.values)
      return {
        source,
        decoded: source.dense(),
        diagnostics: {
          ...(made.damping !== undefined && { damping: made.damping }),
          notes: made.notes,
        },
      }
    },
  }
}

/** @throws OptionError where the weight cannot be turned or has pruned places; NumericalError where the sums are not finite */
function checkWeight(task: LayerTask): void {
  checkLayer('quip', task)
  const { name, current, mask, statistics } = task
  const shape = current.shape as [number, number]
  if (mask?.includes(0))
    throw new OptionError(
      `${name}: quip stores a code for every weight and cannot keep pruned ones at 0; prune without it, or use gptq`,
      { facts: { layer: name } },
    )
  if (!isTurnable(shape))
    throw new OptionError(
      `${name}: quip needs at most ${largestOrthogonal} rows and columns and ${mostTurned} weights, got [${shape}]; leave the weight out`,
      { facts: { layer: name } },
    )
  if (!Number.isFinite(scope(() => statistics.gram!.sum().item())))
    throw new NumericalError(
      `${name}: the inputs of this layer are not finite; the model or its text is damaged`,
      { code: 'PARE_E_NOT_FINITE' },
    )
}

/** @throws NumericalError where f32 does not hold the scale */
function scaleOf(name: string, weight: Tensor, rho: number): number {
  const scale = Math.fround(rho * scope(() => Math.sqrt(weight.square().mean().item())))
  if (Number.isFinite(scale)) return scale
  throw new NumericalError(`${name}: its levels leave the range of f32; leave this layer out`, {
    code: 'PARE_E_NOT_FINITE',
  })
}

/** A seed of 32 bits for each weight of a model. */
const randomSeed = (seed: number, name: string): number =>
  scope(() => (randomStream(seed, `quip ${name}`).bits([1]).toArray() as Uint32Array)[0]!)

/** What a clipped share of the mean counts as, as in the published code. */
const FLOOR = 1e-8
/** Largest factor of a column, and smallest as its inverse: exact in f16, with all its digits. */
const MOST = 2 ** 14

/**
 * 1 / t of each column, f64 [columns], exact in f16, of which a geometric mean of 1 keeps them in range.
 * `live` is 0 for inputs that are always 0, and 1 for others.
 */
function columnScalesOf({ current, statistics }: LayerTask): {
  columnScales: Tensor
  live: Tensor
  dead: number
} {
  const energies = squaresOf(statistics.gram!)
  const columns = energies.length
  const squares = scope(() => current.cast('f64').square().sum(0).toArray() as Float64Array)
  const mean = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / columns
  const [meanEnergy, meanSquare] = [mean(energies), mean(squares)]
  const live = Float64Array.from(energies, (energy) => (energy === 0 ? 0 : 1))
  // ln t
  const logs = Float64Array.from(energies, (energy, column) =>
    live[column] === 0 || meanSquare === 0 || !(meanEnergy > 0)
      ? 0
      : Math.log(Math.max(energy / meanEnergy, FLOOR) / Math.max(squares[column]! / meanSquare, FLOOR)) / 4,
  )
  const alive = live.reduce((a, b) => a + b, 0)
  const middle = alive === 0 ? 0 : logs.reduce((a, b) => a + b, 0) / alive
  const scales = logs.map((log, column) =>
    live[column] === 0 ? 1 : Math.min(MOST, Math.max(1 / MOST, Math.exp(middle - log))),
  )
  return {
    columnScales: tensor(scales, [columns], 'f16').cast('f64'),
    live: tensor(live, [columns], 'f64'),
    dead: columns - alive,
  }
}

/** H of the scaled columns with a mean diagonal of 1, and the damping; the identity where no input was ever other than 0. */
function evened(gram: Tensor, columnScales: Tensor, damping: number): Tensor {
  const columns = gram.extent(0)
  const scaled = gram.mul(columnScales).mul(columnScales.reshape([columns, 1]))
  const trace = squaresOf(scaled).reduce((a, b) => a + b, 0)
  const identity = new Float64Array(columns * columns)
  for (let i = 0; i < columns; i++) identity[i * columns + i] = trace === 0 ? 1 : damping
  return scaled.mul(trace === 0 ? 0 : columns / trace).add(tensor(identity, [columns, columns], 'f64'))
}

interface Turned {
  weight: Tensor
  hessian: Tensor
  damping: number
  onSingular: 'throw' | 'round'
}

const factorOf = (task: LayerTask, { weight, hessian, damping, onSingular }: Turned) =>
  layerFactor(
    { ...task, current: weight, statistics: { gram: hessian, rows: task.statistics.rows } },
    { method: 'quip', damping, order: reversed(weight.extent(1)), onSingular },
  )
