import { afterEach, expect, test, vi } from 'vitest'
import { colours } from './colours.ts'

afterEach(() => vi.unstubAllEnvs())

/** A word in red. */
const painted = '\u001b[31mword\u001b[39m'

test.each<[string, boolean | undefined, Record<string, string | undefined>, string]>([
  ['a terminal has colours', true, { TERM: 'xterm', NO_COLOR: undefined }, painted],
  ['a file or a pipe has none', undefined, { TERM: 'xterm', NO_COLOR: undefined }, 'word'],
  ['a terminal without a cursor has none', true, { TERM: 'dumb', NO_COLOR: undefined }, 'word'],
  ['NO_COLOR takes them away', true, { TERM: 'xterm', NO_COLOR: '1' }, 'word'],
  ['an empty NO_COLOR is not set', true, { TERM: 'xterm', NO_COLOR: '' }, painted],
])('%s', (_, isTTY, env, wanted) => {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value)
  expect(colours({ isTTY }).red('word')).toBe(wanted)
})
