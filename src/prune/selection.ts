/** Which parameters are pruned, and which of them have a sparsity of their own. */
import { patternMatches } from '../nn/name_pattern.ts'
import type { Match } from '../nn/parameters.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import type { Shape } from '../tensor/index.ts'
import { checkSparsity } from './mask.ts'

export interface Selection {
  /** Only these. Every pattern must take a parameter. @default all */
  match?: Match
  /** Not these: the first convolution, depthwise ones, the classifier. @default none */
  except?: Match
  /** Axes that a parameter has at least, whole, from 0 on: norms and biases have 1. @default 2 */
  axes?: number
  /** Sparsities in [0, 1) of their own, also of parameters that are not selected; null keeps dense. Later ones win. */
  custom?: readonly { match: Match; sparsity: number | null }[]
}

export interface Selected {
  /** Paths whose sparsity a distribution decides, in order. */
  readonly free: readonly string[]
  /** Sparsities that are given. */
  readonly custom: ReadonlyMap<string, number>
}

/** @throws OptionError, which begins with `at`, for patterns that take nothing, or nothing left to prune */
export function selected(
  at: string,
  shapes: ReadonlyMap<string, Shape>,
  { match, except, axes = 2, custom = [] }: Selection,
): Selected {
  if (!(Number.isSafeInteger(axes) && axes >= 0))
    throw new OptionError(`${at}: axes needs a whole number from 0 on, got ${axes}`)
  const paths = [...shapes.keys()]
  const taken = match === undefined ? undefined : matching(at, match, paths)
  const refused = except === undefined ? new Set<string>() : matching(at, except, paths)
  const own = new Map<string, number | null>()
  for (const { match, sparsity } of custom) {
    if (sparsity !== null) checkSparsity(at, sparsity)
    for (const path of matching(at, match, paths)) own.set(path, sparsity)
  }
  const free = paths.filter(
    (path) =>
      shapes.get(path)!.length >= axes && (taken?.has(path) ?? true) && !refused.has(path) && !own.has(path),
  )
  const given = [...own].flatMap(([path, sparsity]) => (sparsity === null ? [] : [[path, sparsity] as const]))
  if (free.length + given.length === 0)
    throw new OptionError(`${at}: none of ${paths.length} parameters is left to prune; widen match or axes`)
  return { free, custom: new Map(given) }
}

function matching(at: string, match: Match, paths: readonly string[]): Set<string> {
  const taken = new Set<string>()
  for (const pattern of typeof match === 'string' ? [match] : match) {
    const found = patternMatches(at, pattern, paths)
    if (!found.includes(true))
      throw new OptionError(`${at}: ${printable(pattern)} takes none of ${paths.length} parameters`, {
        code: 'PARE_E_NO_MATCH',
        facts: { pattern },
      })
    for (const [i, isTaken] of found.entries()) if (isTaken) taken.add(paths[i]!)
  }
  return taken
}
