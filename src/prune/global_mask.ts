/**
 * Masks over several tensors at once, so that the weights of all of them compete (JaxPruner, arXiv:2304.14082,
 * section 3). Scores of a tensor are divided by their Euclidean norm first: without that whole layers disappear.
 */
import { keptCount, type Mask, type Scores, type Ties, topMask } from './mask.ts'
import { maskOf, unstructured } from './pattern.ts'

export interface GlobalMaskOptions {
  /** Divides the scores of each tensor by their norm + 1e-8. @default true */
  normalise?: boolean
  /** Over the tensors in the order of their sorted paths. @default 'lowest' */
  ties?: Ties
  /** Sparsities of tensors that are pruned by themselves, beside the others. @default none */
  own?: ReadonlyMap<string, number>
}

/**
 * @param sparsity of all tensors together that compete, in [0, 1)
 * @example globalMasks(new Map([['a', scoresOfA], ['b', scoresOfB]]), 0.8).get('a')
 */
export function globalMasks(
  scores: ReadonlyMap<string, Scores>,
  sparsity: number,
  { normalise = true, ties = 'lowest', own = new Map() }: GlobalMaskOptions = {},
): Map<string, Mask> {
  const paths = [...scores.keys()].filter((path) => !own.has(path)).sort()
  const all = new Float64Array(paths.reduce((sum, path) => sum + scores.get(path)!.values.length, 0))
  const starts: number[] = []
  let end = 0
  for (const path of paths) {
    const { values } = scores.get(path)!
    const divisor = normalise ? normOf(values) + 1e-8 : 1
    starts.push(end)
    for (const value of values) all[end++] = value / divisor
  }
  const kept = sparsity === 0 || end === 0 ? end : keptCount(end, sparsity)
  const mask = topMask(all, kept, ties)
  const alone = [...own].map(([path, target]) => [
    path,
    maskOf(scores.get(path)!, target, unstructured, ties),
  ])
  const competing = paths.map((path, i) => [path, mask.slice(starts[i], starts[i + 1] ?? end)])
  return new Map([...competing, ...alone] as [string, Mask][])
}

const normOf = (values: Float32Array | Float64Array): number => {
  let sum = 0
  for (const value of values) sum += value * value
  return Math.sqrt(sum)
}
