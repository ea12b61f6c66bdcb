import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { expandedSize, patternMatches, patternTime } from './name_pattern.ts'

const names = [
  'model.embed_tokens.weight',
  'model.layers.0.mlp.up_proj.weight',
  'model.layers.1.mlp.down_proj.weight',
  'model.layers.10.self_attn.q_proj.weight',
  'lm_head.weight',
]
const found = (pattern: string) => names.filter((_, i) => patternMatches('match', pattern, names)[i])

test.each<[pattern: string, indices: number[]]>([
  ['lm_head.weight', [4]],
  ['lm_head', [4]],
  ['lm_hea', []],
  ['head', []],
  ['model.layers.1', [2]],
  ['model.layers.1.*', [2]],
  ['model.layers.1*', [2, 3]],
  ['model.layers.?', [1, 2]],
  ['model.layers.*.mlp', [1, 2]],
  ['model.layers.*.mlp.*', [1, 2]],
  ['model.*.mlp', []],
  ['model.**.mlp', [1, 2]],
  ['**_proj', [1, 2, 3]],
  ['*_proj', []],
  ['**', [0, 1, 2, 3, 4]],
  ['*', [0, 1, 2, 3, 4]],
  ['re:mlp', [1, 2]],
  ['re:^mlp', []],
  ['re:^model\\..*down_proj', [2]],
  ['re:layers\\.\\d\\.', [1, 2]],
  ['re:', [0, 1, 2, 3, 4]],
])('%s takes %j', (pattern, indices) => {
  expect(found(pattern)).toEqual(indices.map((i) => names[i]))
})
test('characters that mean something in expressions mean themselves in a glob', () => {
  expect(patternMatches('match', 'a+(b)[c]', ['a+(b)[c]', 'aab'])).toEqual([true, false])
})

/** Tries every way to cut the name, as the definition says it. */
function slowMatch(glob: string, name: string): boolean {
  if (glob === '') return name === '' || name[0] === '.'
  if (glob[0] === '*') {
    const rest = glob.replace(/^\*+/, '')
    const many = glob.length - rest.length > 1
    for (let taken = 0; taken <= name.length; taken++) {
      if (!many && name.slice(0, taken).includes('.')) break
      if (slowMatch(rest, name.slice(taken))) return true
    }
    return false
  }
  if (name === '') return false
  const same = glob[0] === '?' ? name[0] !== '.' : glob[0] === name[0]
  return same && slowMatch(glob.slice(1), name.slice(1))
}
test('globs take what the definition says, on short texts of few characters', () => {
  const text = (characters: string[]) =>
    fc.array(fc.constantFrom(...characters), { maxLength: 8 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(text(['a', 'b', '.', '*', '**', '?']), text(['a', 'b', '.']), (glob, name) => {
      // An expression of JavaScript begins with re: and is none of these.
      expect(patternMatches('match', glob, [name])).toEqual([slowMatch(glob, name)])
    }),
    { numRuns: 3000 },
  )
})

describe('patterns of strangers', () => {
  test('an expression that backtracks without end is stopped, and the message says where it stands', () => {
    const started = performance.now()
    expect(() => patternMatches('overrides[3]', 're:^(a+)+$', [`${'a'.repeat(60)}b`])).toThrow(
      /^overrides\[3\]: \^\(a\+\)\+\$ takes longer than 1000 ms/,
    )
    // The limit is 1 s; the rest is room for a busy machine.
    expect(performance.now() - started).toBeLessThan(20_000)
  })
  test('a glob of many stars takes no time that grows with their number', () => {
    const glob = '**a'.repeat(150)
    expect(patternMatches('match', glob, ['a'.repeat(500), 'a'.repeat(149)])).toEqual([true, false])
  })
  test.each(['re:(', 're:[z-a]', 're:\\', 're:a{2,1}'])('%s is refused as no expression', (pattern) => {
    expect(() => patternMatches('match', pattern, names)).toThrow(OptionError)
    expect(() => patternMatches('match', pattern, names)).toThrow(/is no regular expression/)
  })
  test('a pattern of 513 characters is refused', () => {
    expect(() => patternMatches('match', 'a'.repeat(513), names)).toThrow(/at most 512 characters, got 513/)
  })
  test('the text of an expression is never run', () => {
    expect(patternMatches('match', "re:' \\+ process\\.exit\\(1\\) \\+ '", names)).toEqual(
      names.map(() => false),
    )
  })
})
test('expressions of one file share their time, however many there are', () => {
  const time = patternTime(200)
  const started = performance.now()
  const slow = () => patternMatches('match', 're:^(?:a+a+)+b', ['a'.repeat(24)], time)
  expect(() => {
    for (let i = 0; i < 100_000; i++) slow()
  }).toThrow(/longer than 200 ms/)
  // Less than a millisecond is no time that an expression can be given.
  expect(time.left).toBeLessThan(2)
  // Twice what all may take, since the machine may be busy: far below 100,000 times a single one.
  expect(performance.now() - started).toBeLessThan(5000)
})
test('an expression sees nothing of the one before it', () => {
  expect(patternMatches('match', 're:a', ['a', 'b'])).toEqual([true, false])
  expect(() => patternMatches('match', 're:(', ['a'])).toThrow(OptionError)
  expect(patternMatches('match', 're:b', ['b'])).toEqual([true])
})

describe('counted repetitions inside of each other', () => {
  test.each([
    ['abc', 3],
    ['(a{9}){9}', 81],
    ['(?:ab{2,5}){3}', 3 * 8],
    ['[{9}](x{2})', 3],
    ['\\{9{2}', 3],
    ['a{3,}', 3],
    ['(a', 1],
  ])('%s comes to about %d parts', (source, size) => {
    expect(expandedSize(source)).toBe(size)
  })
  test('are refused before an engine writes them out', () => {
    const bomb = `re:${'('.repeat(10)}a?${'){9}'.repeat(10)}`
    expect(() => patternMatches('ignore', bomb, ['a'])).toThrow(
      /^ignore: .* with its repetitions written out; repeat less/,
    )
  })
  test('of a usual kind are taken', () => {
    expect(
      patternMatches('only', 're:^model\\.layers\\.\\d{1,3}\\.(mlp|self_attn)\\.', ['model.layers.12.mlp.x']),
    ).toEqual([true])
  })
})
