/**
 * Round to nearest: every weight goes to the nearest level of its group's grid. The baseline of all quantisers.
 *
 *   grid    lowest and highest weight of the group, with 0 in between; or the fit of a ggml block type
 *   result  W' = nearest(W)
 *
 * W is [out, in] and finite; groups run along `in`. Needs no calibration data.
 */
import type { WeightMethod } from '../calibrate/method.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import { gridSource } from '../nn/grid.ts'

/** @example rtn().compress({ name, dense, current: dense, statistics: { rows: 0 }, grid: affineGrid({ bits: 3 }) }) */
export function rtn(): WeightMethod {
  return {
    name: 'rtn',
    needs: [],
    compress({ current, grid }) {
      const { values, dense } = columnSweep(current, { grid })
      return { source: gridSource(values), decoded: dense, diagnostics: { notes: [] } }
    },
  }
}
