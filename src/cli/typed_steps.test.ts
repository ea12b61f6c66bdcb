import { Command } from 'commander'
import { describe, expect, test } from 'vitest'
import { resolveOptions } from '../run/compress_options.ts'
import { flagName } from '../run/option_fields.ts'
import { type OwnField, ownFieldNames, ownFields } from '../run/own_fields.ts'
import { recipeOptions } from '../run/recipe_options.ts'
import { stepMethod, stepMethodNames } from '../run/step_methods.ts'
import { addMethodFlags, addResultFlags, toOptions, typedFlags } from './flags.ts'
import { typedSteps } from './typed_steps.ts'

function parse(...args: string[]) {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => {} })
  addMethodFlags(addResultFlags(command)).option('--output <folder>')
  command.parse(args, { from: 'user' })
  return toOptions('m', typedFlags(command), typedSteps(command))
}

describe('steps behind --then', () => {
  test('take the options that are typed behind them, and nothing else of the others', () => {
    expect(
      parse(
        '--bits',
        '2',
        '--no-act-order',
        '--then',
        'eora',
        '--rank',
        '8',
        '--output',
        'o',
        '--target',
        'pare',
      ),
    ).toEqual({
      source: 'm',
      output: 'o',
      target: 'pare',
      steps: [
        { bits: 2, actOrder: false },
        { method: 'eora', rank: 8 },
      ],
    })
  })
  test('are as many as are typed', () => {
    const { steps } = parse(
      '--method',
      'rtn',
      '--bits',
      '3',
      '--then',
      'gptq',
      '--bits',
      '2',
      '--then',
      'eora',
    )
    expect(steps).toEqual([{ method: 'rtn', bits: 3 }, { method: 'gptq', bits: 2 }, { method: 'eora' }])
  })
  test.each(ownFieldNames.filter((name) => !('value' in ownFields[name])))(
    '%s is switched on and off, of each step for itself',
    (name) => {
      const [on, off] = [flagName(name), `--no-${flagName(name).slice(2)}`]
      const [method] = stepMethodNames.filter((each) => Object.hasOwn(stepMethod(each).options, name))
      const { steps } = parse('--method', method!, off, '--then', method!, on, '--then', 'rtn')
      expect(steps).toEqual([{ method, [name]: false }, { method, [name]: true }, { method: 'rtn' }])
      expect(parse('--method', method!, off)).toMatchObject({ method, [name]: false })
    },
  )
  test('without --then there is no list of steps', () => {
    expect(parse('--method', 'rtn', '--bits', '3')).toEqual({
      source: 'm',
      output: '',
      method: 'rtn',
      bits: 3,
    })
  })
  test('an unknown method is refused where it is typed', () => {
    expect(() => parse('--then', 'rank')).toThrow(/--then/)
  })
  test('go through the rules of steps: a repair stands behind another step', () => {
    expect(() => resolveOptions(parse('--method', 'eora'))).toThrow(
      /eora repairs what another step has done; put it behind one/,
    )
  })
})

/** A value that a field takes. */
const sampleOf = (name: (typeof ownFieldNames)[number]) =>
  ([1, 2, 16, 0.5, 4, '2:4', true, ...ownFields[name].range.split(', ')] as const).find(
    (value) => ownFields[name].schema.safeParse(value).success,
  )!

const readers = ownFieldNames.filter((name) =>
  stepMethodNames.some((method) => Object.hasOwn(stepMethod(method).options, name)),
)
test('every option is read by some method', () => {
  expect(readers).toEqual(ownFieldNames)
})

describe.each(readers)('%s', (name) => {
  const reader = stepMethodNames.find((method) => Object.hasOwn(stepMethod(method).options, name))!
  const first = stepMethod(reader).kind === 'repair' ? ['--method', 'gptq', '--then'] : ['--method']
  test('as a flag is the field of the recipe', () => {
    const value = sampleOf(name)
    const { steps, ...flat } = parse(
      ...first,
      reader,
      flagName(name),
      ...(value === true ? [] : [String(value)]),
    )
    const last = { method: reader, [name]: value }
    expect(steps ? steps.at(-1) : flat).toMatchObject(last)
    const written = recipeOptions({
      pare: 1,
      source: 'm',
      steps: [...(steps ? [{ method: 'gptq' as const }] : []), last],
    })
    expect(written.steps!.at(-1)).toMatchObject(last)
    const { transforms, steps: others } = resolveOptions({ ...written, output: 'o' })
    const own = [...transforms, ...others].findLast(({ method }) => method === reader)!.own
    expect(own).toEqual({ [name]: value })
  })
  const { value: form }: OwnField = ownFields[name]
  if (form === undefined) return
  test('refuses what is out of its range, and says what it needs', () => {
    expect(() => parse(...first, reader, flagName(name), 'no such value')).toThrow(/needed|expected/)
  })
})
