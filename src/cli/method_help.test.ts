import { describe, expect, test } from 'vitest'
import { flagName } from '../run/option_fields.ts'
import { stepMethod, stepMethodNames } from '../run/step_methods.ts'
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

test('pare compress --method NAME --help prints it, and without a method the whole help', () => {
  expect(pare(['compress', '--method', 'eora', '--help']).stdout).toContain(methodHelp('eora'))
  expect(pare(['compress', '--help']).stdout).toMatch(/--output <folder>/)
})
