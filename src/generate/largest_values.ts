/** The largest of many values, without sorting them. */

/** Values above `least` belong to them, and the first `equal` of those that equal it. */
export interface Largest {
  least: number
  equal: number
}

/**
 * The `count` largest values, at least 1. Takes time in proportion to the length on average.
 *
 * @example largestByCount(Float64Array.of(1, 5, 3, 5), 3) // { least: 3, equal: 1 }
 */
export function largestByCount(values: Float64Array, count: number): Largest {
  // The value at this place among some is one that the place among all cannot be below.
  const some = Math.max(1024, 8 * count)
  const bound = some < values.length ? largestByCount(values.subarray(0, some), count).least : -Infinity
  return largest(valuesFrom(values, bound), count, () => 1)
}

/**
 * The fewest of the largest values that have a share of the sum of all, above 0 to 1.
 *
 * @param values 0 or above
 * @example largestByShare(Float64Array.of(0.25, 0.5, 0.125, 0.125), 0.75) // { least: 0.25, equal: 1 }
 */
export function largestByShare(values: Float64Array, share: number): Largest {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  // All values below it together are less than what may be left out.
  const bound = ((1 - share) * sum) / values.length
  return largest(valuesFrom(values, bound), share * sum, (value) => value)
}

/** A copy of those that are not below a bound. */
function valuesFrom(values: Float64Array, bound: number): Float64Array {
  const kept = new Float64Array(values.length)
  let count = 0
  for (let i = 0; i < values.length; i++) if (values[i]! >= bound) kept[count++] = values[i]!
  return kept.subarray(0, count)
}

/** Quickselect (Hoare 1961, algorithm 65) with three parts, so that many equal values cost one pass. Moves the values. */
function largest(values: Float64Array, wanted: number, share: (value: number) => number): Largest {
  let [start, end, left] = [0, values.length, wanted]
  for (;;) {
    const pivot = middle(values[start]!, values[(start + end) >>> 1]!, values[end - 1]!)
    // Larger values stand before `above`, equal ones from there to `below`.
    let [above, at, below] = [start, start, end]
    let sum = 0
    while (at < below) {
      const value = values[at]!
      if (value > pivot) {
        sum += share(value)
        values[at++] = values[above]!
        values[above++] = value
      } else if (value < pivot) {
        values[at] = values[--below]!
        values[below] = value
      } else at++
    }
    if (above > start && sum >= left) {
      end = above
      continue
    }
    const each = share(pivot)
    const equal = below - above
    if (sum + each * equal >= left || below === end) {
      const needed = each > 0 ? Math.ceil((left - sum) / each) : 1
      return { least: pivot, equal: Math.max(1, Math.min(equal, needed)) }
    }
    left -= sum + each * equal
    start = below
  }
}

const middle = (a: number, b: number, c: number): number =>
  Math.max(Math.min(a, b), Math.min(Math.max(a, b), c))
