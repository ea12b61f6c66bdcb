/**
 * Round to nearest whose block scales are fitted to what inputs weigh: `llama-quantize --imatrix`.
 *
 *   fit     least sum of m_i * sqrt(sigma^2 + w_i^2) * (w_i - w'_i)^2 in each block     m_i = mean square of input i
 *   result  W' = nearest(W)
 *
 * Kawrakow's importance matrix, llama.cpp pull request 4861; see `fitBlocks`. Weights without a known importance, and
 * grids that are no block types, are rounded as `rtn` does.
 */
import type { WeightMethod } from '../calibrate/method.ts'
import { fitBlocks } from '../nn/block_fit.ts'
import { decodeValues, gridSource } from '../nn/grid.ts'
import { rtn } from './rtn.ts'

/** @param importance by the name of the weight, a number for each input */
export function weightedRtn(importance: ReadonlyMap<string, Float32Array>): WeightMethod {
  const plain = rtn()
  return {
    ...plain,
    compress(task) {
      const { name, current, grid } = task
      const own = importance.get(name)
      if (!own || grid.kind !== 'blocks') return plain.compress(task)
      const values = fitBlocks(current, grid.type, own)
      return { source: gridSource(values), decoded: decodeValues(values), diagnostics: { notes: [] } }
    },
  }
}
