/** `pare compress --method NAME --help`: what a method does, and every option that it reads. */
import type { Command } from 'commander'
import { flagName } from '../run/option_fields.ts'
import { dampingField, type OwnField, ownFields } from '../run/own_fields.ts'
import { type StepMethodName, stepMethod, stepMethodNames } from '../run/step_methods.ts'
import { wrapped } from './wrapped.ts'

/** Help for one method, where one is typed before `--help`. */
export function addMethodHelp(command: Command): Command {
  const usual = command.helpInformation.bind(command)
  command.helpInformation = (context) => {
    const name = stepMethodNames.find((method) => method === command.getOptionValue('method'))
    return name && command.getOptionValueSource('method') === 'cli' ? methodHelp(name) : usual(context)
  }
  return command
}

type HelpField = Omit<OwnField, 'schema'>

/** Options that quantisers share, as `own_fields.ts` has the others. */
const sharedFields: Readonly<Record<string, HelpField>> = {
  scheme: {
    value: '<type>',
    range: 'Q2_K to Q8_0, IQ4_NL, or a mix such as Q4_K_M',
    help: 'type of the weights in a GGUF file; fewer bits are smaller and worse',
  },
  bits: { value: '<n>', range: '2, 3, 4, 8', help: 'bits a code: 8 and 4 lose little, 3 more, 2 a lot' },
  groupSize: {
    value: '<n>',
    range: 'a whole number from 1, or row',
    help: 'inputs that share a scale; smaller groups are better and take more space, try 32 at 2 and 3 bits',
  },
  symmetric: { range: 'on or off', help: 'no zero is stored; for runtimes that know no other' },
  search: {
    range: 'on or off',
    help: 'searches a narrower range for every group; slow, helps rtn at 2 and 3 bits',
  },
  actOrder: {
    range: 'on or off',
    help: 'the inputs with the most energy first; much better at 2 and 3 bits',
  },
  staticGroups: {
    range: 'on or off',
    help: 'groups stay neighbours in that order; off is a little better, and readers need the group of each column',
  },
  damping: {
    ...dampingField,
    help: 'added to the diagonal of the second moments of the inputs, as a share of its mean; more where a weight is reported as singular, or calibration is short',
  },
  onSingular: {
    value: '<what>',
    range: 'throw, round',
    help: 'what happens where no damping helps; round goes on without calibration for that weight, and the report says so',
  },
}

const gridDefaults: Readonly<Record<string, string>> = {
  scheme: 'Q4_K, for llama.cpp Q4_K_M',
  bits: '4',
  groupSize: '64; for a program the largest of its own that divides all rows',
  symmetric: 'off; for a program what it computes fastest',
  search: 'off',
}

/** Pages of methods that have none of their own name. */
const pages: Partial<Record<StepMethodName, string>> = {
  hadamard: 'rotation',
  wanda: 'sparsegpt',
  magnitude: 'sparsegpt',
  obs: 'obc',
  obq: 'obc',
}

/** The text of the help. */
export function methodHelp(name: StepMethodName): string {
  const method = stepMethod(name)
  const { kind, summary, options } = method
  const known: Readonly<Record<string, HelpField>> = { ...sharedFields, ...ownFields }
  const defaults: Record<string, string | undefined> = {
    ...(kind === 'quantizer' ? gridDefaults : {}),
    ...options,
  }
  if ('blocks' in method && !method.blocks) delete defaults.scheme
  if ('searches' in method && !method.searches) delete defaults.search
  const ranged: Readonly<Record<string, string | undefined>> = ('ranges' in method && method.ranges) || {}
  const entries = Object.entries(defaults).flatMap(([field, byDefault]) => {
    const { value, range, help } = known[field]!
    const flag =
      value === undefined
        ? `${flagName(field)}, --no-${flagName(field).slice(2)}`
        : `${flagName(field)} ${value}`
    return [
      `  ${flag}`,
      ...wrapped(`${help[0]!.toUpperCase()}${help.slice(1)}.`, 6),
      ...wrapped(`Range: ${ranged[field] ?? range}. Default: ${byDefault}.`, 6),
      '',
    ]
  })
  return [
    `Usage: pare compress [model] --method ${name} [options] --output <folder>`,
    '',
    ...wrapped(`${name}: ${summary}.`, 0),
    '',
    ...(entries.length === 0 ? ['It has no options.', ''] : ['Options of the method:', '', ...entries]),
    ...(kind === 'transform'
      ? [
          ...wrapped(
            'It stands before the steps that compress weights. Where none follows, weights are rounded to nearest, and --bits, --group-size, --symmetric, --search or --scheme say how.',
            0,
          ),
          '',
        ]
      : []),
    ...wrapped(
      `A further step follows with --then NAME and its options. All options of the command: pare compress --help. More: docs/systems/${pages[name] ?? name}.md`,
      0,
    ),
    '',
  ].join('\n')
}
