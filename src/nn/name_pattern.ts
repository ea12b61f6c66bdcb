/**
 * Patterns over the names of tensors.
 *
 *   model.layers.0        a glob takes what it spells, and everything below it
 *   *  **  ?              any characters but a dot; any characters; one character but a dot
 *   re:^model\..*down_    a regular expression of JavaScript that is found anywhere in the name
 */
import { type Context, createContext, Script } from 'node:vm'
import { OptionError, printable } from '../tensor/errors.ts'

/** Patterns are nobody's to vouch for: those that backtrack without end are stopped. */
const milliseconds = 1000
/** For all patterns of a model's file, which may have many. */
const millisecondsOfFile = 400
export const longestPattern = 512

/** What patterns may still take together, in milliseconds of all. */
export interface PatternTime {
  readonly all: number
  left: number
}

/** The time of all patterns of one file. */
export const patternTime = (all = millisecondsOfFile): PatternTime => ({ all, left: all })

/**
 * Which of the names a pattern takes.
 *
 * @param time that it shares with others of its file @default a second for this one
 * @throws OptionError, which begins with `at`, for an expression that is not valid or takes too long.
 * @example patternMatches('overrides[0].match', 'model.layers.*.mlp', ['model.layers.0.mlp.up_proj.weight']) // [true]
 */
export function patternMatches(
  at: string,
  pattern: string,
  names: readonly string[],
  time = patternTime(milliseconds),
): boolean[] {
  if (pattern.length > longestPattern)
    throw new OptionError(`${at}: a pattern has at most ${longestPattern} characters, got ${pattern.length}`)
  if (pattern.startsWith('re:')) return expressionMatches(at, pattern.slice(3), names, time)
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

/** Engines write counted repetitions out, in some kB a part of memory where they repeat each other. */
const longestExpansion = 10_000

/** Parts of an expression with its counted repetitions written out, about: `(a{9}){9}` has 81. */
export function expandedSize(source: string): number {
  /** Of each group that is open: all of it, and its last part. */
  const groups = [{ all: 0, last: 0 }]
  const add = (size: number) => {
    const group = groups.at(-1)!
    group.all += size
    group.last = size
  }
  const parts = source.matchAll(/\\[\s\S]|\[(?:\\[\s\S]|[^\]\\])*\]?|\{(\d+)(?:,(\d*))?\}|[\s\S]/g)
  for (const [part, least, most] of parts) {
    if (part === '(') groups.push({ all: 0, last: 0 })
    else if (part === ')' && groups.length > 1) add(groups.pop()!.all)
    else if (least !== undefined) {
      const group = groups.at(-1)!
      const repeated = group.last * Math.max(1, Number(least), Number(most ?? 0))
      group.all += repeated - group.last
      group.last = repeated
    } else add(1)
  }
  return groups.reduce((size, { all }) => size + all, 0)
}

/** A world of its own, made once: whatever an expression does, there is nothing in it but texts. */
let world: Context | undefined
const search = new Script(
  "(() => { const wanted = new RegExp(source, 'u'); return names.map((name) => wanted.test(name)) })()",
)

function expressionMatches(
  at: string,
  source: string,
  names: readonly string[],
  time: PatternTime,
): boolean[] {
  if (expandedSize(source) > longestExpansion)
    throw new OptionError(
      `${at}: ${printable(source)} comes to more than ${longestExpansion} parts with its repetitions written out; repeat less inside of what repeats`,
      { code: 'PARE_E_PATTERN', facts: { pattern: `re:${source}` } },
    )
  const started = performance.now()
  world ??= createContext({ source: '', names: [] })
  try {
    Object.assign(world, { source, names })
    const found: Iterable<unknown> = search.runInContext(world, {
      timeout: Math.max(1, Math.ceil(time.left)),
    })
    return Array.from(found, Boolean)
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const reason =
      code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
        ? `takes longer than ${time.all} ms on the names of the model; repeat less inside of what repeats`
        : `is no regular expression (${printable(message)})`
    throw new OptionError(`${at}: ${printable(source)} ${reason}`, {
      code: 'PARE_E_PATTERN',
      facts: { pattern: `re:${source}` },
    })
  } finally {
    Object.assign(world, { source: '', names: [] })
    time.left -= performance.now() - started
  }
}
