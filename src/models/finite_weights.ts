/** Refuses weights that are not finite where they are read: a method or a forward would only spread them. */
import { FormatError, printable } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'
import type { ModelWeights } from './model_weights.ts'

/** The same weights, checked as they are loaded. */
export const finiteWeights = (weights: ModelWeights): ModelWeights => ({
  ...weights,
  load: (name) => finite(name, weights.load(name)),
  rows: (name, ids) => finite(name, weights.rows(name, ids)),
  slice: (name, start, end) => finite(name, weights.slice(name, start, end)),
})

function finite(name: string, x: Tensor): Tensor {
  // Anything that is not finite stays so in the sum; a sum that only overflows is told apart value by value.
  const sound = scope(() => Number.isFinite(x.sum().item()) || x.isFinite().all().item() === 1)
  if (sound) return x
  throw new FormatError(`${printable(name)}: holds values that are not finite; the file is damaged`, {
    code: 'PARE_E_NOT_FINITE',
    facts: { tensor: name },
  })
}
