/**
 * How many levels each column of a weight gets, so that all columns lose the same.
 *
 *   L_j(R) = c_j 2^(-2R),   minimise sum_j L_j with mean_j R_j = R:
 *   R_j = R + log2(c_j / GM(c)) / 2,   all L_j = GM(L at R)            BAQ, arXiv:2506.05664, section 3
 *   N_j = round(2^R (L_j / GM(L))^(1/t)),  t = 1.95: the slope of measured losses
 *
 * GM is the geometric mean. Losses come in any unit: they are divided by their mean first, so that the 1e-8 which keeps
 * logarithms finite is small beside them. Differs from the published code there.
 */

export interface Allocation {
  /** Mean bits of a column. */
  bits: number
  /** Slope of losses over bits, as a power of 1/2 a bit. */
  exponent: number
}

/** Added to losses over their mean. */
const LEAST = 1e-8
const MOST_LEVELS = 65535
/** Of a column in whole bits. */
const MOST_BITS = 8

/** Bits above the mean of the columns, by the closed form: fractions, of any sign, whose mean is 0. */
export function bitsAboveMean(losses: ArrayLike<number>, exponent = 2): Float64Array {
  const all = Array.from(losses)
  const mean = all.reduce((sum, loss) => sum + loss, 0) / all.length
  // Where nothing is lost all columns are alike.
  const logs = all.map((loss) => (mean > 0 ? Math.log2(loss / mean + LEAST) : 0))
  const geometric = logs.reduce((sum, log) => sum + log, 0) / logs.length
  return Float64Array.from(logs, (log) => (log - geometric) / exponent)
}

/** Levels of each column, 1 to 65535. @param losses of each column at one rate @example levelCounts([4, 1], { bits: 2, exponent: 2 }) // 6, 3 */
export function levelCounts(losses: ArrayLike<number>, { bits, exponent }: Allocation): Uint16Array {
  return Uint16Array.from(bitsAboveMean(losses, exponent), (above) =>
    Math.min(MOST_LEVELS, Math.max(1, Math.round(2 ** (bits + above)))),
  )
}

/**
 * Levels of each column as whole bits, 0 to 8, that add up to `bits` a column, rounded once for all: from the nearest whole
 * bits, one bit after the other goes where it gains most, or from where it costs least.
 */
export function wholeBitCounts(losses: ArrayLike<number>, { bits, exponent }: Allocation): Uint16Array {
  const above = bitsAboveMean(losses, exponent)
  const budget = Math.round(bits * above.length)
  const given = Array.from(above, (more) => Math.min(MOST_BITS, Math.max(0, Math.round(bits + more))))
  /** What a column loses with so many bits, in units of its loss at none of the mean. */
  const loss = (column: number, count: number) => 2 ** (exponent * (above[column]! - count))
  for (let total = given.reduce((a, b) => a + b, 0); total !== budget; ) {
    const step = total < budget ? 1 : -1
    let best = -1
    let least = Number.POSITIVE_INFINITY
    for (const [column, count] of given.entries()) {
      if (count + step < 0 || count + step > MOST_BITS) continue
      const change = loss(column, count + step) - loss(column, count)
      if (change < least) [best, least] = [column, change]
    }
    given[best]! += step
    total += step
  }
  return Uint16Array.from(given, (count) => 2 ** count)
}
