/** What a column sweep that stores a code for every weight needs to know of a layer: the factor, the order and the rest. */
import { OptionError } from '../tensor/errors.ts'
import { type LayerFactor, layerFactor } from './layer_factor.ts'
import type { LayerTask } from './method.ts'
import { squaresOf } from './statistics.ts'

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

export interface SweepInputs extends LayerFactor {
  /** Column of the weight at each position of the sweep; absent is first to last. */
  order?: Uint32Array
  /** Inputs that are always 0. */
  dead: readonly number[]
}

/**
 * @throws OptionError where the Gram matrix is missing or of another layer, or where weights were pruned, which a code would
 *   not keep at 0; NumericalError where H has no factor, or the sums are not finite
 */
export function sweepInputs(task: LayerTask, choices: SweepChoices): SweepInputs {
  const { name, current, mask, statistics } = task
  const { method, actOrder } = choices
  const { gram } = statistics
  const inputs = current.extent(1)
  if (!gram) throw new OptionError(`${name}: ${method} needs the Gram matrix of the layer's inputs`)
  if (gram.extent(0) !== inputs)
    throw new OptionError(
      `${name}: ${method} needs the Gram matrix of ${inputs} inputs, got one of ${gram.extent(0)}; gather it anew`,
    )
  if (mask?.includes(0))
    throw new OptionError(
      `${name}: ${method} stores a code for every weight and cannot keep pruned ones at 0; prune without it, or use gptq`,
      { facts: { layer: name } },
    )
  const squares = squaresOf(gram)
  // Of equals the earlier first.
  const order = actOrder
    ? Uint32Array.from(squares, (_, i) => i).sort((a, b) => squares[b]! - squares[a]! || a - b)
    : undefined
  const known = layerFactor(task, { ...choices, order })
  if (!known.factor) known.notes.push('rounded without its inputs, since its Gram matrix has no factor')
  const dead = Array.from(squares.keys()).filter((column) => known.factor && squares[column] === 0)
  return { ...known, ...(order && { order }), dead }
}
