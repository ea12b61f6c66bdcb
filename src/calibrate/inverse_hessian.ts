/**
 * The inverse Hessian of greedy optimal brain surgeon, with the ladder of dampings.
 *
 *   H = G / unit + damping * I,  unit = mean(diag G) over the inputs that are ever anything but 0
 *
 * Dividing by the unit makes results independent of the scale of the inputs. An input that is always 0 counts as one of
 * energy 1 that nothing else depends on; its weights are to be set to 0.
 */
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { matmul, scope, type Tensor } from '../tensor/index.ts'
import { inverseFactor } from './inverse_factor.ts'
import { type Statistics, squaresOf } from './statistics.ts'

export interface InverseHessian {
  /** f64 [in, in] */
  readonly inverse: Tensor
  /** G / H: what turns losses into sums of squared output changes is 2 * unit. */
  readonly unit: number
  /** Inputs that are always 0. */
  readonly dead: readonly number[]
}

export interface InverseHessianOptions {
  /** As messages begin. */
  readonly name: string
  readonly statistics: Statistics
  /** Share of the mean diagonal that is added first, from 0 on. @default 0, or 0.01 where there are fewer tokens than inputs */
  readonly damping?: number | undefined
}

export interface Damped<T> {
  readonly result: T
  readonly unit: number
  readonly damping: number
  /** For the report. */
  readonly notes: string[]
}

const ladder = [0.01, 0.1, 1]

/** Entries of the inverse may be this much larger than those of a matrix of units; beyond, f64 has too few digits. */
const largestEntry = 1e12

/**
 * Calls `solve` with the inverse, and again with more damping while it returns nothing.
 *
 * @throws NumericalError where the sums are not finite (PARE_E_NOT_FINITE), or nothing helps (PARE_E_SINGULAR)
 */
export function withInverseHessian<T>(
  options: InverseHessianOptions,
  solve: (hessian: InverseHessian) => T | undefined,
): Damped<T> {
  return scope(() => climb(options, solve))
}

function climb<T>(
  { name, statistics, damping }: InverseHessianOptions,
  solve: (hessian: InverseHessian) => T | undefined,
): Damped<T> {
  const { gram, rows } = statistics
  if (!gram) throw new OptionError(`${name}: needs the Gram matrix of the layer's inputs; gather it first`)
  const first = damping ?? (rows < gram.extent(0) ? 0.01 : 0)
  const { unit, scaled } = scaledGram(name, gram)
  for (const step of [first, ...ladder.filter((other) => other > first)]) {
    const found = scope(() => {
      const hessian = inverseAt(name, scaled, step)
      // A step that had to be raised comes again by itself.
      if (!hessian) return undefined
      const result = solve({ ...hessian, unit })
      return result === undefined ? undefined : { result, dead: hessian.dead }
    })
    if (!found) continue
    const notes: string[] = []
    if (step > first) notes.push(`damping raised to ${step}`)
    if (found.dead.length > 0) notes.push(`${found.dead.length} inputs are always 0`)
    if (rows < gram.extent(0)) notes.push(`only ${rows} tokens for ${gram.extent(0)} inputs`)
    return { result: found.result, unit, damping: step, notes }
  }
  throw new NumericalError(
    `${name}: the Gram matrix of ${gram.extent(0)} inputs has no usable inverse even with damping 1; give more or other calibration data`,
    { code: 'PARE_E_SINGULAR', facts: { inputs: gram.extent(0) } },
  )
}

/** The Gram matrix with a mean diagonal of 1. */
function scaledGram(name: string, gram: Tensor): { unit: number; scaled: Tensor } {
  const live = squaresOf(gram).filter((square) => square !== 0)
  const unit = live.length === 0 ? 1 : live.reduce((sum, square) => sum + square, 0) / live.length
  if (!Number.isFinite(unit) || unit < 0) throw notFinite(name)
  return { unit, scaled: gram.div(unit) }
}

function inverseAt(name: string, gram: Tensor, damping: number): Omit<InverseHessian, 'unit'> | undefined {
  let solved: ReturnType<typeof inverseFactor>
  try {
    solved = inverseFactor(gram, { damping })
  } catch (cause) {
    if (!(cause instanceof NumericalError)) throw cause
    if (cause.code === 'PARE_E_SINGULAR') return undefined
    throw notFinite(name, cause)
  }
  if (solved.damping !== damping) return undefined
  const inverse = matmul(solved.factor, solved.factor.transpose())
  const usable = squaresOf(inverse).every((entry) => entry > 0 && entry <= largestEntry)
  return usable ? { inverse, dead: solved.dead } : undefined
}

const notFinite = (name: string, cause?: unknown) =>
  new NumericalError(`${name}: the inputs of this layer are not finite; the model or its data is damaged`, {
    code: 'PARE_E_NOT_FINITE',
    cause,
  })

/** The weight as f64, with 0 in some columns and where a mask keeps nothing. */
export function liveWeight(
  weight: Tensor,
  dead: readonly number[],
  mask: Uint8Array | undefined,
): Float64Array {
  const columns = weight.extent(1)
  const values = Float64Array.from(weight.toArray() as Float32Array)
  if (mask) for (let i = 0; i < values.length; i++) if (!mask[i]) values[i] = 0
  for (const column of dead) for (let i = column; i < values.length; i += columns) values[i] = 0
  return values
}
