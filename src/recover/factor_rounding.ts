/**
 * The two thin matrices of a low-rank part in few bits, as if each were a layer: A sees the inputs of the layer, B sees
 * what the rounded A makes of them. Liu et al. 2024, arXiv:2410.21271, section 3.
 */
import { inverseFactor } from '../calibrate/inverse_factor.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import type { AffineGrid, AffineValues } from '../nn/grid.ts'
import { matmul, scope, type Tensor } from '../tensor/index.ts'
import type { LowRank } from './low_rank_error.ts'

export interface RoundedFactors {
  left: AffineValues
  right: AffineValues
}

/**
 * @param gram of the inputs, f64 [in, in]; without it every number goes to its nearest level
 * @throws NumericalError where no damping gives a factor
 */
export function roundFactors({ left, right }: LowRank, grid: AffineGrid, gram?: Tensor): RoundedFactors {
  return scope(() => {
    const a = rounded(right, grid, gram)
    const seen = gram && matmul(matmul(a.dense, gram), a.dense.transpose()) // [rank, rank]
    return { left: rounded(left, grid, seen).values as AffineValues, right: a.values as AffineValues }
  })
}

function rounded(factor: Tensor, grid: AffineGrid, gram: Tensor | undefined) {
  return columnSweep(factor, gram ? { grid, factor: inverseFactor(gram).factor } : { grid })
}
