/** The command that a report names, read by the command line again. */
import { Command } from 'commander'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { commandArguments } from '../run/command_line.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import { addCompress } from './compress.ts'
import { toOptions } from './flags.ts'

/** The options that `pare compress` gets from arguments, without running it. */
function parsed(args: readonly string[]): CompressOptions {
  const pare = new Command('pare').exitOverride()
  addCompress(pare)
  let options: CompressOptions | undefined
  pare.commands[0]!.exitOverride().action((model: string, flags) => {
    options = toOptions(model, flags)
  })
  pare.parse(args.slice(1), { from: 'user' })
  return options!
}

const name = fc.string({ unit: 'grapheme', minLength: 1 })
const names = fc.array(name, { minLength: 1, maxLength: 3 })
const whole = fc.nat({ max: 1e6 }).map((value) => value + 2)
const given = fc.record<CompressOptions>(
  {
    source: name,
    output: name,
    method: fc.constantFrom('gptq', 'rtn'),
    target: fc.constantFrom('gguf', 'gptq', 'pare'),
    scheme: fc.constantFrom('Q4_K', 'IQ4_NL'),
    bits: whole,
    groupSize: fc.oneof(whole, fc.constant('row' as const)),
    symmetric: fc.constant(true),
    search: fc.boolean(),
    actOrder: fc.boolean(),
    staticGroups: fc.boolean(),
    trueSequential: fc.boolean(),
    damping: fc.double({ min: 1e-12, max: 100, noNaN: true }),
    onSingular: fc.constantFrom('throw', 'round'),
    secondOrder: fc.boolean(),
    clip: fc.boolean(),
    embedding: fc.constantFrom('keep', 'F16'),
    activations: fc.constantFrom('F32', 'F16'),
    fallback: fc.boolean(),
    calibration: names,
    samples: whole,
    length: whole,
    seed: whole,
    evaluate: fc.boolean(),
    sideBySide: fc.boolean(),
    speed: fc.boolean(),
    baselines: fc.boolean(),
    verify: fc.boolean(),
    probe: fc.boolean(),
    levels: fc.oneof(fc.constant([2, 8]), fc.constant(['Q3_K', 'IQ4_NL'])),
    sensitivity: fc.constantFrom('measured', 'error'),
    sensitivityWindows: whole,
    limits: fc.oneof(
      fc.record({ targetSize: whole }),
      fc.record({ targetBpw: fc.double({ min: 1e-3, max: 64, noNaN: true }) }),
      fc.record({ maxMemory: whole }),
      fc.record({ maxKl: fc.double({ min: 1e-3, max: 64, noNaN: true }) }),
    ),
    text: names,
    context: whole,
    windows: whole,
    every: whole,
    overwrite: fc.constant(true),
    scratch: name,
    offline: fc.constant(true),
  },
  { requiredKeys: ['source', 'output'] },
)
const path = (text: string) => (text.startsWith('-') ? `./${text}` : text)

test('the command line reads the arguments of any options as the same options', () => {
  fc.assert(
    fc.property(given, (options) => {
      const { source, output, calibration, text, scratch } = options
      expect(parsed(commandArguments(options))).toEqual({
        // What commander sets where a lone --no- flag is not typed.
        fallback: true,
        trueSequential: true,
        evaluate: true,
        baselines: true,
        verify: true,
        probe: true,
        ...options,
        source: path(source),
        output: path(output),
        ...(calibration ? { calibration: calibration.map(path) } : {}),
        ...(text ? { text: text.map(path) } : {}),
        ...(scratch === undefined ? {} : { scratch: path(scratch) }),
      })
    }),
  )
})
