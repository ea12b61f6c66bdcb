/**
 * Several sequences of different length run through a model together: their new tokens are the rows of one matrix, so
 * that each weight is read once for all of them, while each attends to its own cache alone.
 */
import { indexSelect, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { type KeyValueCache, runStage, type StageContext } from '../stage.ts'
import type { Llama, ResidentLlama } from './llama.ts'

/** The next tokens of one sequence, and what holds those before them. */
export interface SequencePiece {
  /** At least one. */
  ids: Uint32Array
  cache: KeyValueCache
}

/**
 * Rows from which on the bits of a row of a product do not depend on how many rows there are. Fewer go through the
 * matrix-vector kernels, which sum in another order, and differ by about 1e-6 of the largest number.
 */
export const rowsOfEqualBits = 4

/**
 * Hidden states behind the last stage, [rows, hidden]: those of the tokens of all pieces, piece after piece, and behind
 * them what fills up to `leastRows`. The caches grow by the pieces.
 *
 * @param leastRows with `rowsOfEqualBits`, the states of a piece have the same bits whatever runs beside it
 * @example const hidden = hiddenStates(resident, [{ ids: prompt, cache }, { ids: Uint32Array.of(next), cache: other }])
 */
export function hiddenStates(
  { model, stages }: ResidentLlama,
  pieces: readonly SequencePiece[],
  leastRows: number = rowsOfEqualBits,
): Tensor {
  const ids = filled(
    pieces.flatMap((piece) => Array.from(piece.ids)),
    leastRows,
  )
  return scope(() => {
    const context = contextOf(model, pieces, ids.length)
    let hidden = model.embed(ids)
    for (const stage of stages) {
      const before = hidden
      hidden = scope(() => runStage(stage, before, context))
    }
    return hidden
  })
}

/** Logits of these rows of hidden states, [rows.length, vocabulary], with bits as those of `hiddenStates`. */
export function logitsAt(
  { head }: ResidentLlama,
  hidden: Tensor,
  rows: readonly number[],
  leastRows: number = rowsOfEqualBits,
): Tensor {
  const chosen = filled(rows, leastRows)
  return scope(() =>
    head.logits(indexSelect(hidden, 0, tensor(chosen, [chosen.length], 'u32'))).slice(0, 0, rows.length),
  )
}

/** The numbers, and zeros up to `least`. */
function filled(numbers: readonly number[], least: number): Uint32Array {
  const all = new Uint32Array(Math.max(least, numbers.length))
  all.set(numbers)
  return all
}

/** `rows` that no piece has are a sequence of their own, which nobody remembers. */
function contextOf(model: Llama, pieces: readonly SequencePiece[], rows: number): StageContext {
  const own = pieces.map(({ ids, cache }) => ({ tokens: ids.length, past: cache.length, cache }))
  const rest = rows - own.reduce((sum, { tokens }) => sum + tokens, 0)
  const all = rest > 0 ? [...own, { tokens: rest, past: 0 }] : own
  const positions = all.flatMap(({ tokens, past }) => Array.from({ length: tokens }, (_, i) => past + i))
  const sequences = all.map((each) => {
    const bias = model.windowBias(each.tokens, each.past)
    return { ...each, ...(bias ? { bias } : {}) }
  })
  return { rotary: model.rotary(positions), sequences }
}
