/**
 * The best low-rank part of an error in a space S:
 *
 *   D S = U diag(sigma) V^T,    B A = U_r diag(sigma_r) V_r^T S^+     |(D - B A) S| = sqrt(sum of sigma_i^2, i > r)
 *
 * Liu et al. 2024, arXiv:2410.21271, section 3. Differs from it in how sigma is shared: column i of B and row i of A have
 * the same length, so that both fit f16 whatever the size of the inputs. Their product is the same.
 */
import { concat, scope, svd, type Tensor, zeros } from '../tensor/index.ts'
import type { ErrorSpace } from './error_space.ts'

export interface LowRank {
  /** B, f64 [out, rank] */
  left: Tensor
  /** A, f64 [rank, in] */
  right: Tensor
}

/**
 * @param error D, f64 [out, in]
 * @param rank from 1 to the smaller of out and in; directions past those of the space are 0
 * @throws NumericalError where it is not finite
 */
export function lowRankError(error: Tensor, space: ErrorSpace, rank: number): LowRank {
  return scope(() => {
    const { u, s, vt } = svd(space.into(error))
    const found = Math.min(rank, s.extent(0))
    const rows = space.back(vt.slice(0, 0, found)) // [found, in]
    const sigma = s.slice(0, 0, found)
    const lengths = rows.square().sum([-1]).sqrt() // [found]
    const gains = lengths
      .greater(0)
      .where(sigma.div(lengths.maximum(Number.MIN_VALUE)), 0)
      .sqrt()
    const [left, right] = [u.slice(1, 0, found).mul(gains.mul(lengths)), rows.mul(gains.unsqueeze(-1))]
    if (found === rank) return { left, right }
    const [outputs, inputs] = error.shape as [number, number]
    return {
      left: concat([left, zeros([outputs, rank - found], 'f64')], 1),
      right: concat([right, zeros([rank - found, inputs], 'f64')], 0),
    }
  })
}
