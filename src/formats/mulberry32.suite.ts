/** A small generator with a seed (mulberry32), so that a failing case can be run again: whole numbers below 2^32. */
export function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
}

/** Whole numbers below the one that is given with each call. */
export function numbersBelow(seed: number): (below: number) => number {
  const next = mulberry32(seed)
  return (below) => next() % below
}
