/** The command line of a compression, from its options. */
import { sizeText } from './byte_size.ts'
import type { CompressOptions } from './compress_options.ts'
import { type OwnFieldName, ownFieldNames, ownFields } from './own_fields.ts'

/** How an option is written: the flag takes its value, stands where it is true, where it is false, or for either. */
type Kind = 'value' | 'size' | 'path' | 'paths' | 'on' | 'off' | 'either'

/** File of a result that holds it. */
export const recipeFile = 'recipe.json'

const flags: Readonly<
  Record<Exclude<keyof CompressOptions, 'source' | 'steps' | 'overrides' | 'limits'>, Kind>
> = {
  target: 'value',
  format: 'value',
  scheme: 'value',
  bits: 'value',
  groupSize: 'value',
  symmetric: 'either',
  embedding: 'value',
  activations: 'value',
  fallback: 'off',
  shardSize: 'size',
  imatrix: 'path',
  method: 'value',
  actOrder: 'either',
  staticGroups: 'either',
  search: 'either',
  trueSequential: 'off',
  damping: 'value',
  onSingular: 'value',
  calibration: 'paths',
  samples: 'value',
  length: 'value',
  seed: 'value',
  text: 'paths',
  context: 'value',
  windows: 'value',
  every: 'value',
  evaluate: 'off',
  sideBySide: 'either',
  speed: 'either',
  baselines: 'off',
  verify: 'off',
  levels: 'value',
  sensitivity: 'value',
  sensitivityWindows: 'value',
  scratch: 'path',
  offline: 'on',
  probe: 'off',
  ...(Object.fromEntries(
    ownFieldNames.map((name) => [name, 'value' in ownFields[name] ? 'value' : 'either']),
  ) as Record<OwnFieldName, Kind>),
  overwrite: 'on',
  restart: 'on',
  output: 'path',
}

/**
 * The arguments of `pare` that stand for these options; what was not given is not written.
 *
 * @example commandArguments({ source: 'm.gguf', output: 'smaller', bits: 3 })  // pare compress m.gguf --bits 3 ...
 */
export function commandArguments(options: CompressOptions): string[] {
  const args = ['pare', 'compress', path(options.source)]
  if (needsRecipe(options)) args.push('--recipe', recipeFile)
  const { maxKl, maxMemory, targetSize, targetBpw } = options.limits ?? {}
  if (maxKl !== undefined) args.push('--max-kl', String(maxKl))
  if (targetSize !== undefined) args.push('--target-size', sizeText(targetSize))
  if (targetBpw !== undefined) args.push('--target-bpw', String(targetBpw))
  if (maxMemory !== undefined) args.push('--max-memory', sizeText(maxMemory))
  for (const [name, kind] of Object.entries(flags) as [keyof typeof flags, Kind][]) {
    const value = options[name]
    if (value === undefined) continue
    const flag = (name === 'calibration' ? 'calib' : name).replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
    if (kind === 'paths') args.push(`--${flag}`, ...(value as readonly string[]).map(path))
    else if (kind === 'path') args.push(`--${flag}`, path(String(value)))
    else if (kind === 'size') args.push(`--${flag}`, sizeText(Number(value)))
    else if (kind === 'value') args.push(`--${flag}`, String(value))
    else if (value === true && kind !== 'off') args.push(`--${flag}`)
    else if (value === false && kind !== 'on') args.push(`--no-${flag}`)
  }
  return args
}

/** Whether flags alone cannot say it. */
export const needsRecipe = ({
  limits: { maxKl: _, maxMemory: __, targetSize: ___, targetBpw: ____, ...limits } = {},
  ...options
}: CompressOptions): boolean =>
  options.steps !== undefined || options.overrides !== undefined || Object.keys(limits).length > 0

/** The same path in a form that is no flag. */
const path = (text: string): string => (text.startsWith('-') ? `./${text}` : text)

/** Arguments for others to read: of an absolute path, which says too much, only the last part. */
export const shareable = (args: readonly string[]): string[] =>
  args.map((arg) => (/^(?:[/\\~]|[a-z]:[/\\])/i.test(arg) ? lastPart(arg) : arg))

const lastPart = (path: string): string => path.split(/[/\\]/).findLast((part) => part !== '') ?? path

/** A source for others to read: a registry's whole name, of a path the last part. */
export const sourceLabel = (source: string): string =>
  /^(?:pypi|npm|hf):/.test(source) ? source : lastPart(source)

/** Arguments as a line that a POSIX shell splits into them again; those with control characters or < need bash. */
export const shellLine = (args: readonly string[]): string => args.map(quoted).join(' ')

/** Characters that are written as bytes: those without a shape, and what begins a tag where the line is shown. */
const coded = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}<]/u

function quoted(arg: string): string {
  if (/^[\w@%+=:,./-]+$/.test(arg)) return arg
  if (!coded.test(arg)) return `'${arg.replaceAll("'", "'\\''")}'`
  // Bytes, since what \u gives depends on the locale.
  const inside = arg
    .replace(/[\\']/g, '\\$&')
    .replace(new RegExp(coded, 'gu'), (c) =>
      [...new TextEncoder().encode(c)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join(''),
    )
  return `$'${inside}'`
}
