import { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { flagName } from '../run/option_fields.ts'
import { stepMethod, stepMethodNames } from '../run/step_methods.ts'
import { addMethodFlags, addResultFlags } from './flags.ts'
import { methodHelp } from './method_help.ts'
import { pare } from './pare_process.suite.ts'

describe.each(stepMethodNames)('the help of %s', (name) => {
  const text = methodHelp(name)
  test('has every option that the method reads, each with what it does, its range and its default', () => {
    for (const field of Object.keys(stepMethod(name).options)) expect(text).toContain(`  ${flagName(field)}`)
    const flags = text.match(/^ {2}--/gm) ?? []
    expect(text.match(/Range: [^.]/g) ?? []).toHaveLength(flags.length)
    expect(text.match(/Default: [^.]/g) ?? []).toHaveLength(flags.length)
  })
  test('fits a terminal of 100 columns', () => {
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(100)
  })
})

test('ranges are those of the method, where it takes other bits than a grid', () => {
  expect(methodHelp('gptq')).toContain('Range: 2, 3, 4, 8. Default: 4.')
  expect(methodHelp('quip')).toContain('Range: a whole number from 1 to 8. Default: 2.')
  expect(methodHelp('baq')).toContain('Range: a number from 1 to 8, with any fraction. Default: 3.')
})
test.each(['omniquant', 'obq'] as const)(
  'the help of %s tells no option of a grid that it refuses',
  (name) => {
    expect(methodHelp(name)).toContain('--bits <n>')
    expect(methodHelp(name)).not.toMatch(/--search|--scheme/)
  },
)
test('every flag that the help of a method tells is one of the command', () => {
  const command = new Command()
  addMethodFlags(addResultFlags(command))
  const known = command.options.map(({ long }) => long)
  for (const name of stepMethodNames)
    for (const [, flags] of methodHelp(name).matchAll(/^ {2}(--.*)$/gm))
      for (const [flag] of flags!.matchAll(/--[a-z-]+/g)) expect(known).toContain(flag)
})
test('pare compress --method NAME --help prints it, and without a method the whole help', () => {
  expect(pare(['compress', '--method', 'eora', '--help']).stdout).toContain(methodHelp('eora'))
  expect(pare(['compress', '--help']).stdout).toMatch(/--output <folder>/)
})
