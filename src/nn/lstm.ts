/**
 * Long short-term memory (Hochreiter and Schmidhuber 1997), with a forget gate and without peepholes:
 *
 *   i, f, g, o = x W^T + h U^T + b, cut into four      sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
 *   c' = f c + i g
 *   h' = o tanh(c')
 *
 * Weights are [4 * hidden, in] and [4 * hidden, hidden] with the gates in the order i, f, g, o, as PyTorch stores them.
 */

import { ShapeError } from '../tensor/errors.ts'
import { scope, split, stack, type Tensor, unstack, zerosLike } from '../tensor/index.ts'
import { showShape } from '../tensor/shape.ts'
import type { Linear } from './linear.ts'

/** The two linears of a cell; biases of both add up. */
export interface LstmWeights {
  /** [4 * hidden, in] */
  input: Linear
  /** [4 * hidden, hidden] */
  hidden: Linear
}

/** Each [batch, hidden]. */
export interface LstmState {
  hidden: Tensor
  cell: Tensor
}

/** One step; `fromInput` is what `weights.input` makes of x, [batch, 4 * hidden]. */
function gatesToState(fromInput: Tensor, state: LstmState, { hidden }: LstmWeights): LstmState {
  return scope(() => {
    const width = state.hidden.extent(-1)
    const gates = fromInput.add(hidden.forward(state.hidden))
    const [i, f, g, o] = split(gates, [width, width, width, width]) as [Tensor, Tensor, Tensor, Tensor]
    const cell = f.sigmoid().mul(state.cell).add(i.sigmoid().mul(g.tanh()))
    return { hidden: o.sigmoid().mul(cell.tanh()), cell }
  })
}

export interface LstmOptions {
  /** Before the first token. @default zeros */
  state?: LstmState | undefined
}

/**
 * A sequence through one layer: x [batch, tokens, in], outputs [batch, tokens, hidden]. The products with the inputs of
 * all tokens are one.
 *
 * @throws ShapeError where x is no sequence, or has no tokens.
 */
export function lstm(
  x: Tensor,
  weights: LstmWeights,
  { state }: LstmOptions = {},
): { outputs: Tensor; state: LstmState } {
  if (x.rank !== 3 || x.extent(1) === 0)
    throw new ShapeError(`lstm: needs x [batch, tokens, in] with a token at least, got ${showShape(x.shape)}`)
  return scope(() => {
    const steps = unstack(weights.input.forward(x), 1)
    const width = weights.hidden.source.shape[1]
    const empty = () => zerosLike(steps[0]!.slice(1, 0, width))
    let current = state ?? { hidden: empty(), cell: empty() }
    const outputs: Tensor[] = []
    for (const step of steps) {
      current = gatesToState(step, current, weights)
      outputs.push(current.hidden)
    }
    return { outputs: stack(outputs, 1), state: current }
  })
}
