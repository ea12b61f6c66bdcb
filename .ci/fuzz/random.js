/** Numbers from a seed: the same reader and seed give the same bytes on every machine. */

/** FNV-1a over the characters. */
const hashOf = (text) => {
  let hash = 0x811c9dc5
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193)
  return hash >>> 0
}

/** A small generator (mulberry32), begun by a name and a number. */
export function randomOf(name, seed) {
  let state = hashOf(`${name} ${seed}`)
  /** A whole number from 0 to `n` (exclusive); 0 for n of 0. */
  const below = (n) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n)
  }
  return {
    below,
    /** True once in `n` times. */
    once: (n) => below(n) === 0,
    /** From `from` to `to`, both included. */
    between: (from, to) => from + below(to - from + 1),
    pick: (list) => list[below(list.length)],
  }
}
