/**
 * Patterns over the names of tensors.
 *
 *   model.layers.0        a glob takes what it spells, and everything below it
 *   *  **  ?              any characters but a dot; any characters; one character but a dot
 *   re:^model\..*down_    a regular expression of JavaScript that is found anywhere in the name
 */
import { runInNewContext } from 'node:vm'
import { OptionError, printable } from '../tensor/errors.ts'

/** Patterns of recipes are nobody's to vouch for: one that backtracks without end is stopped. */
const milliseconds = 1000
export const longestPattern = 512

/**
 * Which of the names a pattern takes.
 *
 * @throws OptionError, which begins with `at`, for an expression that is not valid or takes too long.
 * @example patternMatches('overrides[0].match', 'model.layers.*.mlp', ['model.layers.0.mlp.up_proj.weight']) // [true]
 */
export function patternMatches(at: string, pattern: string, names: readonly string[]): boolean[] {
  if (pattern.length > longestPattern)
    throw new OptionError(`${at}: a pattern has at most ${longestPattern} characters, got ${pattern.length}`)
  if (pattern.startsWith('re:')) return expressionMatches(at, pattern.slice(3), names)
  const tokens = globTokens(pattern)
  return names.map((name) => globMatches(tokens, name))
}

/** One character, or one of `*`, `**`, `?`. */
export const globTokens = (glob: string): string[] => glob.match(/\*{2,}|[\s\S]/g) ?? []

/** Whether a token can take more than one character. */
export const isRun = (token: string): boolean => token.startsWith('*')

/** Whether a token takes a character. */
export const takes = (token: string, character: string): boolean =>
  token.length > 1 || (token === '*' || token === '?' ? character !== '.' : token === character)

/** Follows all ways through the glob at once, so that the work is their product at most. */
function globMatches(tokens: readonly string[], name: string): boolean {
  let alive = new Set<number>()
  const enter = (states: Set<number>, state: number) => {
    for (let at = state; !states.has(at); at++) {
      states.add(at)
      if (at === tokens.length || !isRun(tokens[at]!)) break
    }
  }
  enter(alive, 0)
  for (let i = 0; ; i++) {
    if (alive.has(tokens.length) && (i === name.length || name[i] === '.')) return true
    if (i === name.length || alive.size === 0) return false
    const next = new Set<number>()
    for (const state of alive) {
      if (state < tokens.length && takes(tokens[state]!, name[i]!))
        enter(next, isRun(tokens[state]!) ? state : state + 1)
    }
    alive = next
  }
}

function expressionMatches(at: string, source: string, names: readonly string[]): boolean[] {
  try {
    const found: Iterable<unknown> = runInNewContext(
      "(() => { const wanted = new RegExp(source, 'u'); return names.map((name) => wanted.test(name)) })()",
      { source, names },
      { timeout: milliseconds },
    )
    return Array.from(found, Boolean)
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const reason =
      code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
        ? `takes longer than ${milliseconds} ms on the names of the model; repeat less inside of what repeats`
        : `is no regular expression (${printable(message)})`
    throw new OptionError(`${at}: ${printable(source)} ${reason}`, {
      code: 'PARE_E_PATTERN',
      facts: { pattern: `re:${source}` },
    })
  }
}
