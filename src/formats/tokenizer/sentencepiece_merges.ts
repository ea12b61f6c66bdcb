/**
 * SentencePiece BPE without its model file: scores become ranked merges and back.
 *
 * SentencePiece joins the neighbours whose union has the highest score; ranked merges join the neighbours with
 * the lowest rank. Every way to cut a token into two tokens is a merge, ranked by the score of the union, as
 * in `generate_merges` of huggingface/transformers, convert_slow_tokenizer.py. Where one token overlaps itself
 * ("aaa" over "aaaa") the two rules may differ in which of the two ends is taken.
 */

/** `ids` are the tokens that text can be joined into: no control, byte or unused tokens. */
export function mergesFromScores(
  tokens: readonly string[],
  scores: ArrayLike<number>,
  ids: readonly number[],
): [string, string][] {
  const idOf = new Map(ids.map((id) => [tokens[id]!, id]))
  const merges: { left: string; right: string; score: number; order: [number, number] }[] = []
  for (const id of ids) {
    for (const [left, right] of cuts(tokens[id]!)) {
      const [l, r] = [idOf.get(left), idOf.get(right)]
      if (l !== undefined && r !== undefined) merges.push({ left, right, score: scores[id]!, order: [l, r] })
    }
  }
  merges.sort(
    (a, b) =>
      b.score - a.score ||
      characters(b.left) - characters(a.left) ||
      characters(b.right) - characters(a.right) ||
      a.order[0] - b.order[0] ||
      a.order[1] - b.order[1],
  )
  return merges.map(({ left, right }) => [left, right])
}

/** Longer tokens than this are not made by merges but given as they are (user-defined). */
const LONGEST_TOKEN = 1 << 10

/** All cuts between two characters. */
function cuts(token: string): [string, string][] {
  if (token.length > LONGEST_TOKEN) return []
  const found: [string, string][] = []
  let at = 0
  for (const character of token) {
    if (at > 0) found.push([token.slice(0, at), token.slice(at)])
    at += character.length
  }
  return found
}

const characters = (text: string) => Array.from(text).length

/**
 * Scores with which `mergesFromScores` gives the same set of merges in an order that joins the same tokens:
 * minus the place of a token among those that merges make, below all of them where none makes it. Undefined
 * if the merges are not those of a SentencePiece model: one is missing, or they do not go token by token.
 */
export function scoresFromMerges(
  tokens: readonly string[],
  merges: readonly (readonly [string, string])[],
  ids: readonly number[],
): Float32Array | undefined {
  const place = new Map<string, number>()
  let last = ''
  for (const [left, right] of merges) {
    const union = left + right
    if (union !== last && place.has(union)) return undefined
    if (!place.has(union)) place.set(union, place.size)
    last = union
  }
  const scores = new Float32Array(tokens.length)
  for (const id of ids) scores[id] = -(place.get(tokens[id]!) ?? place.size)
  const all = mergesFromScores(tokens, scores, ids)
  const given = new Set(merges.map(([left, right]) => `${left}\u0000${right}`))
  const same = all.length === given.size && all.every(([l, r]) => given.has(`${l}\u0000${r}`))
  return same ? scores : undefined
}
