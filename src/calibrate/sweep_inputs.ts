/**
 * What a column sweep needs, from a layer and the Gram matrix of its inputs: the factor of the inverse Hessian, the
 * order of the columns, and the weight without inputs that are always 0.
 */
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { inverseFactor } from './inverse_factor.ts'
import type { LayerTask } from './method.ts'

export interface SweepChoices {
  /** Name of the method, for messages. */
  method: string
  /** Added to the diagonal, as a share of its mean; above 0. */
  damping: number
  /** Columns with the largest diagonal entry come first. */
  actOrder: boolean
  /** Where no damping gives a factor: stop, or go on without one. */
  onSingular: 'throw' | 'round'
}

export interface SweepInputs {
  /** [out, in], with 0 for inputs that are always 0. */
  weight: Tensor
  /** U transposed, as `columnSweep` takes it; absent where no damping gave one. */
  factor?: Tensor
  /** Column of the weight at each position of the sweep; absent is first to last. */
  order?: Uint32Array
  /** Share of the mean diagonal that was added. */
  damping?: number
  /** Inputs that are always 0. */
  dead: readonly number[]
  /** For the report. */
  notes: string[]
}

/**
 * @throws OptionError where the Gram matrix is missing or weights were pruned, since grids of all weights would fill them again;
 *   NumericalError where H has no factor, or the sums are not finite.
 */
export function sweepInputs(
  { name, current, mask, statistics }: LayerTask,
  choices: SweepChoices,
): SweepInputs {
  const { method, damping, actOrder, onSingular } = choices
  const { gram, rows } = statistics
  const inputs = current.extent(1)
  if (!gram) throw new OptionError(`${name}: ${method} needs the Gram matrix of the layer's inputs`)
  if (gram.extent(0) !== inputs)
    throw new OptionError(
      `${name}: ${method} needs the Gram matrix of ${inputs} inputs, got one of ${gram.extent(0)}`,
    )
  if (mask?.includes(0))
    throw new OptionError(
      `${name}: ${method} stores a code for every weight and cannot keep pruned ones at 0; prune without it, or use gptq`,
      { facts: { layer: name } },
    )
  const notes: string[] = []
  const order = actOrder ? descendingDiagonal(gram) : undefined
  const placed = order && { order }
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
    notes.push('rounded without its inputs, since its Gram matrix has no factor')
    return { weight: current, ...placed, dead: [], notes }
  }
  const { factor, dead } = solved
  if (solved.damping > damping) notes.push(`damping raised to ${solved.damping}`)
  if (dead.length > 0) notes.push(`${dead.length} inputs are always 0`)
  if (rows < inputs) notes.push(`only ${rows} tokens for ${inputs} inputs`)
  const weight = dead.length > 0 ? withoutColumns(current, dead) : current
  return { weight, factor, ...placed, damping: solved.damping, dead, notes }
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
