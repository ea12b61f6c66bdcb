/**
 * Rotary positions: pair j of a token is turned by its angle, (a, b) -> (a cos - b sin, b cos + a sin).
 * The pair is (j, j + rotated / 2), or (2j, 2j + 1) where interleaved.
 */
export function rotary(
  x: Float64Array,
  [tokens, dim]: [number, number],
  cos: Float64Array,
  sin: Float64Array,
  interleaved: boolean,
): Float64Array {
  const out = x.slice()
  const pairs = tokens === 0 ? 0 : cos.length / tokens
  for (let row = 0; row * dim < x.length; row++) {
    for (let j = 0; j < pairs; j++) {
      const angle = (row % tokens) * pairs + j
      const first = row * dim + (interleaved ? 2 * j : j)
      const second = interleaved ? first + 1 : first + pairs
      out[first] = x[first]! * cos[angle]! - x[second]! * sin[angle]!
      out[second] = x[second]! * cos[angle]! + x[first]! * sin[angle]!
    }
  }
  return out
}
