/** The fields of flags, recipes and the API. Each is declared once, with what it may hold. */
import { z } from 'zod'
import { longestPattern } from '../nn/name_pattern.ts'
import { nearestField } from '../nn/nearest_names.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { parseSize, sizeForm } from './byte_size.ts'
import { sensitivityNames } from './mix/mix_options.ts'
import { dampingField, type OwnFieldName, ownFields } from './own_fields.ts'
import { stepMethodNames } from './step_methods.ts'
import { choosableFormats, targetNames } from './targets.ts'

// Every message says what is needed; `checkField` adds the subject and what was found.
export const whole = (least: number, most = Number.MAX_SAFE_INTEGER) => {
  const error = `a whole number from ${least} ${most === Number.MAX_SAFE_INTEGER ? 'on' : `to ${most}`}`
  return z.int({ error }).min(least, { error }).max(most, { error })
}
export const above0 = (what = 'a number above 0') => z.number({ error: what }).positive({ error: what })
/** A number that fits what `need` says. */
export const numberThat = (need: string, fits: (x: number) => boolean) =>
  z.number({ error: need }).refine(fits, { error: need })
export const atLeast0 = numberThat('a number from 0 on', (x) => x >= 0)
export const shareBelow1 = numberThat('a share from 0 to below 1', (x) => x >= 0 && x < 1)
export const yesOrNo = z.boolean({ error: 'true or false' })
export const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) =>
  z.enum(names, { error: `one of ${names.join(', ')}` })
export const text = (error: string, longest = 4096) =>
  z
    .string({ error })
    .min(1, { error })
    .max(longest, { error: `${error}, of at most ${longest} characters,` })
    .refine((value) => !value.includes('\0'), { error: `${error}, without the character 0,` })
export const list = <Item extends z.ZodType>(item: Item, error: string) =>
  z
    .array(item, { error })
    .min(1, { error })
    .max(10_000, { error: `${error}, of at most 10000,` })
const size = z.preprocess(
  (value) => (typeof value === 'string' ? (parseSize(value) ?? value) : value),
  z.int({ error: sizeForm }).min(1, { error: sizeForm }),
)

/** A map with these fields and no others. */
export const record = <Shape extends z.ZodRawShape>(shape: Shape) => {
  const known = Object.keys(shape)
  return z.strictObject(shape, {
    error: ({ code, keys }) =>
      code === 'unrecognized_keys'
        ? known.includes('steps') && Object.hasOwn(stepFields, (keys as string[])[0]!)
          ? `there is no field ${(keys as string[])[0]} here; it belongs into steps`
          : `there is no field ${printable(String((keys as string[])[0]), 64)}; the nearest is ${nearestField((keys as string[])[0]!, known)}, all are ${known.join(', ')}`
        : `a map of ${known.join(', ')}`,
  })
}

export const pattern = text('a pattern such as model.layers.0.* or re:down_proj', longestPattern)
export const files = list(text('the path of a file'), 'a list of files')
const groupNeed = 'a whole number from 1 on or "row"'
const grid = {
  scheme: text('the name of a block type such as Q4_K, or of a mix such as Q4_K_M', 32),
  bits: numberThat('a number from 1 on', (x) => x >= 1),
  groupSize: z.union([z.literal('row'), z.int({ error: groupNeed }).min(1, { error: groupNeed })], {
    error: groupNeed,
  }),
  symmetric: yesOrNo,
}
/** The same fields, each of which may be left out. */
export const optional = <Shape extends z.ZodRawShape>(shape: Shape) =>
  Object.fromEntries(Object.entries(shape).map(([name, field]) => [name, z.optional(field)])) as {
    [Name in keyof Shape]: z.ZodOptional<Shape[Name]>
  }

/** What a step does to the weights that it takes. */
export const stepFields = {
  method: oneOf(stepMethodNames),
  ...grid,
  search: yesOrNo,
  actOrder: yesOrNo,
  staticGroups: yesOrNo,
  damping: dampingField.schema,
  onSingular: oneOf(['throw', 'round']),
  ...(Object.fromEntries(Object.entries(ownFields).map(([name, { schema }]) => [name, schema])) as {
    [Name in OwnFieldName]: (typeof ownFields)[Name]['schema']
  }),
}
export const calibrationFields = { files, samples: whole(1), length: whole(1) }
export const evaluationFields = { files, context: whole(2), windows: whole(1), every: whole(1) }
/** What holds for the whole of a compression. */
export const wholeFields = {
  source: text('a path, pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME'),
  output: text('the name of a folder'),
  overwrite: yesOrNo,
  restart: yesOrNo,
  target: oneOf(targetNames),
  format: oneOf(choosableFormats),
  seed: whole(0),
  embedding: text('keep, F16 or a block type', 32),
  activations: oneOf(['F32', 'F16']),
  fallback: yesOrNo,
  shardSize: size,
  imatrix: text('the path of a file'),
  trueSequential: yesOrNo,
  sideBySide: yesOrNo,
  speed: yesOrNo,
  baselines: yesOrNo,
  verify: yesOrNo,
  levels: list(
    z.union([z.int(), text('a block type', 32)], { error: 'a number of bits or a block type' }),
    'a list of bits or block types',
  ),
  sensitivity: oneOf(sensitivityNames),
  sensitivityWindows: whole(1),
  scratch: text('the name of a folder'),
  offline: yesOrNo,
  probe: yesOrNo,
}

export const stepSchema = record(optional({ ...stepFields, only: list(pattern, 'a list of patterns') }))
export const overrideSchema = record({ match: pattern, ...optional({ ...grid, keep: yesOrNo }) })
export const limitsSchema = record(
  optional({
    maxMemory: size,
    maxKl: above0('a number of nats above 0'),
    targetSize: size,
    targetBpw: above0('a number of bits above 0'),
  }),
)
export const calibrationSchema = record(optional(calibrationFields))
export const evaluationSchema = record(optional(evaluationFields))
export const overridesSchema = z
  .array(overrideSchema, { error: 'a list of overrides' })
  .max(10_000, { error: 'a list of at most 10000 overrides' })

/** `groupSize` as it is typed: `--group-size`. */
export const flagName = (name: string): string =>
  name === 'calibration' ? '--calib' : `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`

export type Path = readonly (string | number)[]

/** `steps[0].bits` */
export const pathText = (path: Path): string =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('')

/**
 * A value as its schema reads it.
 *
 * @throws OptionError `PLACE: NEED is needed, got FOUND`; `place` turns the path inside the value into text, and knows the
 * field of it that does not exist.
 */
export function checkValue<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  place: (path: Path, key?: string) => string,
): z.output<Schema> {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const { path, message, code, key } = clearest(error.issues)
  const where = place(path, key)
  const found = path.reduce<unknown>((at, key) => (at as Record<string | number, unknown>)?.[key], value)
  const sentence = code === 'unrecognized_keys' ? message : `${message} is needed, got ${shown(found)}`
  throw new OptionError(where === '' ? sentence : `${where}: ${sentence}`, {
    code: 'PARE_E_FIELD',
    facts: { field: where },
  })
}

interface ClearIssue {
  path: (string | number)[]
  message: string
  code: string
  /** The field that does not exist. */
  key?: string
}

/** A misspelt field explains what is missing, so that it goes first; of alternatives, the one whose kind was meant. */
function clearest(issues: readonly z.core.$ZodIssue[]): ClearIssue {
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!
  const path = issue.path as (string | number)[]
  if (issue.code === 'invalid_union') {
    const meant = issue.errors.find((inner) =>
      inner.every(({ path: at, code }) => at.length > 0 || code === 'unrecognized_keys'),
    )
    if (meant && meant.length > 0) {
      const inner = clearest(meant)
      return { ...inner, path: [...path, ...inner.path] }
    }
  }
  const [key] = issue.code === 'unrecognized_keys' ? issue.keys : []
  return { path, message: issue.message, code: issue.code, ...(key === undefined ? {} : { key }) }
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `"${printable(value)}"`
  if (value === undefined || value === null) return 'nothing'
  if (typeof value === 'object') return Array.isArray(value) ? `a list of ${value.length}` : 'a map'
  return String(value)
}
