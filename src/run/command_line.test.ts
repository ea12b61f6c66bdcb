import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { commandArguments, shareable, shellLine, sourceLabel } from './command_line.ts'

test('options that were given become flags, and no others', () => {
  expect(
    commandArguments({
      source: 'm.gguf',
      output: 'out',
      bits: 3,
      groupSize: 'row',
      symmetric: true,
      fallback: false,
      shardSize: 1_500_000,
      actOrder: false,
      staticGroups: true,
      search: false,
      trueSequential: true,
      calibration: ['a.txt', 'b.jsonl'],
      sideBySide: false,
      speed: false,
      baselines: false,
      verify: false,
      levels: ['Q3_K', 'Q4_K'],
      limits: { targetSize: 60_000_000 },
    }).join(' '),
  ).toBe(
    'pare compress m.gguf --target-size 60MB --bits 3 --group-size row --symmetric --no-fallback --shard-size 1500kB --no-act-order --static-groups --no-search --calib a.txt b.jsonl --no-side-by-side --no-speed --no-baselines --no-verify --levels Q3_K,Q4_K --output out',
  )
})
test('options of single methods that are switched off are written so', () => {
  const args = commandArguments({ source: 'm', output: 'o', method: 'spqr', secondOrder: false })
  expect(args).toContain('--no-second-order')
})
test('a path that looks like a flag becomes one that does not', () => {
  expect(commandArguments({ source: '-m.gguf', output: '--out' }).slice(2)).toEqual([
    './-m.gguf',
    '--output',
    './--out',
  ])
})
test('of absolute paths the last part is for others to read', () => {
  expect(
    shareable(['pare', 'a/b.txt', '/home/me/c.txt', '~/d/', 'C:\\me\\e.gguf', 'hf:ORG/NAME', '/']),
  ).toEqual(['pare', 'a/b.txt', 'c.txt', 'd', 'e.gguf', 'hf:ORG/NAME', '/'])
  expect(['pypi:a==1', '/x/y.gguf', 'z'].map(sourceLabel)).toEqual(['pypi:a==1', 'y.gguf', 'z'])
})
test('plain arguments are written as they are', () => {
  expect(shellLine(['pare', 'compress', 'hf:ORG/NAME', '--damping', '0.01', 'a b'])).toBe(
    "pare compress hf:ORG/NAME --damping 0.01 'a b'",
  )
})
test('a shell splits the line into the same arguments, whatever stands in them', () => {
  const nasty = fc.constantFrom(
    "'",
    '"',
    '$(id)',
    '`id`',
    '\\',
    '\n',
    '\u001b[31m',
    '*',
    ';',
    '&',
    '!',
    '~',
    '',
    '\u202e',
    'é',
  )
  const arg = fc
    .array(fc.oneof(nasty, fc.string({ unit: 'grapheme' })), { maxLength: 5 })
    .map((parts) => parts.join('').replaceAll('\0', ''))
  fc.assert(
    fc.property(fc.array(arg, { minLength: 1, maxLength: 4 }), (args) => {
      const shown = execFileSync('bash', ['-c', `printf '%s\\0' ${shellLine(args)}`], { encoding: 'utf8' })
      expect(shown.split('\0').slice(0, -1)).toEqual(args)
    }),
    { numRuns: 60 },
  )
})
test('the line has no character that steers a terminal or begins a tag', () => {
  expect(shellLine(['a\u001b[31m\u202eb\n'])).toBe("$'a\\x1b[31m\\xe2\\x80\\xaeb\\x0a'")
  expect(shellLine(['<b>'])).toBe("$'\\x3cb>'")
})
