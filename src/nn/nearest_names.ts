/** Names that are near to what was asked for, for messages. */
import { globTokens, isRun, takes } from './name_pattern.ts'

/**
 * Edits between a glob and the name, or the part of a name above what lies below it, that it is nearest to: a
 * character put in, left out or replaced is 1, what a wildcard takes is 0.
 */
export function globDistance(tokens: readonly string[], name: string): number {
  // costs[i] is for the tokens so far against the first i characters.
  let costs = Array.from({ length: name.length + 1 }, (_, i) => i)
  for (const token of tokens) {
    const next = [costs[0]! + (isRun(token) ? 0 : 1)]
    for (let i = 1; i <= name.length; i++) {
      const taken = takes(token, name[i - 1]!)
      next[i] = isRun(token)
        ? Math.min(costs[i]!, next[i - 1]! + (taken ? 0 : 1))
        : Math.min(costs[i]! + 1, next[i - 1]! + 1, costs[i - 1]! + (taken ? 0 : 1))
    }
    costs = next
  }
  return costs.reduce(
    (least, cost, i) => (i === name.length || name[i] === '.' ? Math.min(least, cost) : least),
    Number.POSITIVE_INFINITY,
  )
}

/** Up to `count` names, the nearest first; of equals the earlier. */
export function nearestNames(pattern: string, names: readonly string[], count = 3): string[] {
  const glob = pattern.startsWith('re:') ? roughGlob(pattern.slice(3)) : pattern
  // The work is the product of both lengths.
  const tokens = globTokens(glob).slice(0, 128)
  return names
    .map((name, index) => ({ name, index, distance: globDistance(tokens, name.slice(0, 256)) }))
    .sort((a, b) => a.distance - b.distance || a.index - b.index)
    .slice(0, count)
    .map(({ name }) => name)
}

/** A field that was meant, by its name. @example nearestField('grupSize', ['bits', 'groupSize']) // 'groupSize' */
export const nearestField = (name: string, known: readonly string[]): string =>
  nearestNames(name.replaceAll('*', '').slice(0, 64), known, 1)[0]!

/** What an expression spells, with wildcards for the rest: enough to find what was meant. */
const roughGlob = (source: string): string =>
  `**${source
    .replace(/\[[^\]]*\]|\\[dwsDWS]/g, '?')
    .replace(/[.?]?[*+]\??|\{[^}]*\}/g, '**')
    .replace(/[\\^$()|]/g, '')}`
