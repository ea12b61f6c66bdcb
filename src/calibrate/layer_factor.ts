/** What the sweeps over pruned weights need to know of a layer's inputs, and what to say where that is not to be had. */
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { inverseFactor } from './inverse_factor.ts'
import type { LayerTask } from './method.ts'

export interface LayerFactorOptions {
  /** For messages. */
  method: string
  damping: number
  /** Column of the weight at each position of the sweep. @default first to last */
  order?: Uint32Array | undefined
  /** What is done without a factor: stop, or what the caller names so. */
  onSingular: string
}

export interface LayerFactor {
  /** The current weight with 0 where inputs are always 0. */
  weight: Tensor
  /** U transposed with H^-1 = U^T U, in the type of the weight; absent where no damping gave one. */
  factor?: Tensor
  /** Share of the mean diagonal that was added. */
  damping?: number
  notes: string[]
}

/**
 * @throws OptionError for a task without a Gram matrix; NumericalError for sums that are not finite, and with
 *   `onSingular: 'throw'` where even the last damping gives no factor
 */
export function layerFactor(
  { name, current, statistics: { gram, rows } }: LayerTask,
  { method, damping, order, onSingular }: LayerFactorOptions,
): LayerFactor {
  if (!gram) throw new OptionError(`${name}: ${method} needs the Gram matrix of the layer's inputs`)
  try {
    const dtype = current.dtype === 'f64' ? 'f64' : 'f32'
    const solved = inverseFactor(gram, { damping, order, dtype })
    const notes: string[] = []
    if (solved.damping > damping) notes.push(`damping raised to ${solved.damping}`)
    if (solved.dead.length > 0) notes.push(`${solved.dead.length} inputs are always 0`)
    if (rows < current.extent(1)) notes.push(`only ${rows} tokens for ${current.extent(1)} inputs`)
    const weight = solved.dead.length > 0 ? withoutColumns(current, solved.dead) : current
    return { weight, factor: solved.factor, damping: solved.damping, notes }
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error
    // Inputs that are not finite mean a damaged model, which a fallback would only hide.
    if (onSingular === 'throw' || error.code !== 'PARE_E_SINGULAR')
      throw new NumericalError(`${name}: ${error.message}`, {
        code: error.code,
        facts: error.facts,
        cause: error,
      })
    return { weight: current, notes: [] }
  }
}

/** A copy of the weight with 0 in some columns. */
function withoutColumns(weight: Tensor, columns: readonly number[]): Tensor {
  const kept = new Float64Array(weight.extent(1)).fill(1)
  for (const column of columns) kept[column] = 0
  return weight.mul(tensor(kept, [1, kept.length], weight.dtype))
}

/** @throws OptionError */
export function checkDamping(damping: number): void {
  if (damping > 0 && Number.isFinite(damping)) return
  throw new OptionError(`damping must be above 0, got ${damping}; 0.01 is usual`)
}

/** @throws OptionError */
export function checkBlockSize(blockSize: number): void {
  if (Number.isInteger(blockSize) && blockSize >= 1) return
  throw new OptionError(`the block size must be a whole number from 1 on, got ${blockSize}; 128 is usual`)
}
