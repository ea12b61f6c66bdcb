/**
 * N-gram models over tokens with interpolated modified Kneser-Ney smoothing.
 *
 *   p_n(w | h) = max(c(h w) - D(c(h w)), 0) / c(h) + g(h) p_{n-1}(w | h')      h' is h without its first token
 *   g(h)       = (D1 N1(h) + D2 N2(h) + D3 N3+(h)) / c(h)                      Nk(h): followers of h with count k
 *   D1         = 1 - 2 Y n2 / n1,  D2 = 2 - 3 Y n3 / n2,  D3 = 3 - 4 Y n4 / n3,  Y = n1 / (n1 + 2 n2)
 *   p_0        = 1 / vocabulary
 *
 * c are counts in the longest order, and below it the number of different tokens that stand before (h w); c(h) is the sum
 * over the followers of h, and nk the number of n-grams of the order with count k. Chen and Goodman 1998, TR-10-98,
 * section 3. Where a count of counts is 0 or a discount leaves (0, k), D1 to D3 are 0.5, 1 and 1.5, as in KenLM.
 */
import { OptionError } from '#src/tensor/errors.ts'

export interface NgramModel {
  /** Different n-grams of each order, from 1 on. */
  readonly sizes: readonly number[]
  /** p(token | history); the last `order - 1` tokens of the history count. */
  probability(history: ArrayLike<number>, token: number): number
}

export interface NgramOptions {
  /** Tokens of an n-gram, from 1 on. */
  order: number
  /** Ids are below it. */
  vocabulary: number
}

/**
 * Counts a stream of tokens.
 *
 * @throws OptionError for a stream shorter than an n-gram, and an id past the vocabulary
 * @example ngramModel(Uint32Array.of(0, 1, 0, 1, 0, 2), { order: 2, vocabulary: 3 }).probability([0], 1) // 0.5
 */
export function ngramModel(tokens: Uint32Array, { order, vocabulary }: NgramOptions): NgramModel {
  if (tokens.length < order)
    throw new OptionError(`tokens: ${order} are needed for one n-gram, got ${tokens.length}; give more text`)
  const wrong = tokens.find((id) => id >= vocabulary)
  if (wrong !== undefined)
    throw new OptionError(`tokens: ids below ${vocabulary} are needed, got ${wrong}; give the vocabulary`)
  const runs = runsOf(tokens, order, vocabulary)
  const levels = runs.map((level, i) =>
    levelOf(level, continuationsOf(runs, i), runs[i - 1]?.nodes.size ?? 1),
  )
  const contextOf = (history: ArrayLike<number>, length: number): number | undefined => {
    let node: number | undefined = 0
    for (let i = 0; i < length && node !== undefined; i++)
      node = runs[i]!.nodes.get(node * vocabulary + history[history.length - length + i]!)
    return node
  }
  return {
    sizes: runs.map(({ nodes }) => nodes.size),
    probability(history, token) {
      let probability = 1 / vocabulary
      // From the empty context to the longest one that the text continues.
      for (let length = 0; length < order && length <= history.length; length++) {
        const context = contextOf(history, length)
        const { counts, kept, totals, given } = levels[length]!
        if (context === undefined || totals[context] === 0) break
        const node = runs[length]!.nodes.get(context * vocabulary + token)
        const own = node === undefined ? 0 : kept(counts[node]!)
        probability = (own + given[context]! * probability) / totals[context]!
      }
      return probability
    },
  }
}

/** The n-grams of one order, numbered as they first occur. */
interface Runs {
  /** Number by that of the run without its last token, times the vocabulary, plus that token: exact below 2^53. */
  nodes: Map<number, number>
  /** Number of the run that begins at each position. */
  at: Uint32Array
  /** Where each run first begins. */
  first: Uint32Array
  /** Number of the run without its last token. */
  context: (node: number) => number
  occurrences: Uint32Array
}

function runsOf(tokens: Uint32Array, order: number, vocabulary: number): Runs[] {
  const all: Runs[] = []
  let shorter = new Uint32Array(tokens.length + 1)
  for (let length = 1; length <= order; length++) {
    const nodes = new Map<number, number>()
    const first: number[] = []
    const at = new Uint32Array(tokens.length - length + 1)
    for (let start = 0; start < at.length; start++) {
      const key = shorter[start]! * vocabulary + tokens[start + length - 1]!
      let node = nodes.get(key)
      if (node === undefined) {
        node = nodes.size
        nodes.set(key, node)
        first.push(start)
      }
      at[start] = node
    }
    const occurrences = new Uint32Array(nodes.size)
    for (const node of at) occurrences[node]! += 1
    const [before, begins] = [shorter, Uint32Array.from(first)]
    all.push({ nodes, at, first: begins, occurrences, context: (node) => before[begins[node]!]! })
    shorter = at
  }
  return all
}

/** Occurrences in the longest order, else how many different tokens stand before each run. */
function continuationsOf(runs: readonly Runs[], index: number): Uint32Array {
  const { at, nodes, occurrences } = runs[index]!
  const longer = runs[index + 1]
  if (!longer) return occurrences
  const counts = new Uint32Array(nodes.size)
  for (const start of longer.first) counts[at[start + 1]!]! += 1
  return counts
}

interface Level {
  counts: Uint32Array
  /** A count without its discount. */
  kept: (count: number) => number
  /** Sum of the counts behind each context, and what the discounts take of it. */
  totals: Float64Array
  given: Float64Array
}

function levelOf({ context }: Runs, counts: Uint32Array, contexts: number): Level {
  const discounts = [0, ...discountsOf(counts)]
  const discount = (count: number) => discounts[Math.min(count, 3)]!
  const [totals, given] = [new Float64Array(contexts), new Float64Array(contexts)]
  for (const [node, count] of counts.entries()) {
    totals[context(node)]! += count
    given[context(node)]! += discount(count)
  }
  return { counts, kept: (count) => count - discount(count), totals, given }
}

/** D1, D2 and D3 of one order. */
export function discountsOf(counts: Uint32Array): readonly [number, number, number] {
  const n = [0, 0, 0, 0, 0]
  for (const count of counts) if (count >= 1 && count <= 4) n[count]! += 1
  const y = n[1]! / (n[1]! + 2 * n[2]!)
  const found = [1, 2, 3].map((k) => k - ((k + 1) * y * n[k + 1]!) / n[k]!)
  const fit = n.slice(1).every((count) => count > 0) && found.every((d, i) => d > 0 && d < i + 1)
  return fit ? (found as [number, number, number]) : [0.5, 1, 1.5]
}
