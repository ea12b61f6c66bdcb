/** `quantization_config` of compressed-tensors: how the weights of each module are stored. */
import {
  packedLength,
  packingOf,
  packingOfVersion,
  type WordPacking,
} from '../../formats/compressed_tensors_packing.ts'
import { type PatternTime, patternMatches, patternTime } from '../../nn/name_pattern.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { isMap, isPositive, wrongField } from './stored_layer.ts'

/** How the weights of a module were rounded, and which of them share a scale. */
export interface WeightScheme {
  bits: number
  type: 'int' | 'float'
  /** There are no zero points, or all are 0. */
  symmetric: boolean
  /** Rows and columns that share a scale; `row` and `all` are as many as there are. */
  rows: number | 'all'
  columns: number | 'row'
}

export const sparsityFormats = ['sparse-24-bitmask', 'sparse-bitmask'] as const
export type SparsityFormat = (typeof sparsityFormats)[number]

export interface CompressedTensorsConfig {
  /** Of the library, e.g. 0.10.0; decides what the width of packed codes leaves open. */
  version: string | undefined
  groups: readonly { targets: readonly string[]; scheme: WeightScheme }[]
  ignore: readonly string[]
  /** Undefined where no weight is sparse. */
  sparsity: SparsityFormat | undefined
}

const formats = ['pack-quantized', 'int-quantized', 'float-quantized', 'naive-quantized', 'dense']

const wrong = (field: string, need: string, found: unknown) =>
  wrongField('compressed-tensors', 'PARE_E_COMPRESSED_TENSORS_CONFIG', field, need, found)

/**
 * What the weights need; how activations, keys and values are rounded is not looked at, since Pare computes them as floats.
 *
 * @throws FormatError for a format or a scheme that Pare does not read.
 */
export function readCompressedTensorsConfig(config: Record<string, unknown>): CompressedTensorsConfig {
  const sparsity = config.sparsity_config ?? {}
  if (!isMap(sparsity)) throw wrong('sparsity_config', 'a map', sparsity)
  const sparse = sparsity.format ?? 'dense'
  if (sparse !== 'dense' && !sparsityFormats.includes(sparse as SparsityFormat))
    throw wrong('sparsity_config.format', `dense, ${sparsityFormats.join(' or ')}`, sparse)
  const groups = config.config_groups ?? {}
  if (!isMap(groups)) throw wrong('config_groups', 'a map', groups)
  const format = checkFormat('format', config.format ?? 'dense', ['mixed-precision'])
  if (config.version !== undefined && typeof config.version !== 'string')
    throw wrong('version', 'text such as 0.10.0', config.version)
  return {
    version: config.version,
    ignore: names('ignore', config.ignore ?? []),
    sparsity: sparse === 'dense' ? undefined : (sparse as SparsityFormat),
    groups: Object.entries(groups).flatMap(([key, group]) => {
      const at = `config_groups.${printable(key)}`
      if (!isMap(group)) throw wrong(at, 'a map', group)
      // Only activations are rounded.
      if (group.weights === undefined || group.weights === null) return []
      checkFormat(`${at}.format`, group.format ?? format, ['mixed-precision'])
      const targets = names(`${at}.targets`, group.targets)
      return [{ targets, scheme: readScheme(`${at}.weights`, group.weights) }]
    }),
  }
}

function checkFormat(field: string, format: unknown, others: readonly string[]): string {
  if (typeof format === 'string' && [...formats, ...others].includes(format)) return format
  throw wrong(field, formats.join(', '), format)
}

function names(field: string, list: unknown): string[] {
  if (Array.isArray(list) && list.every((name) => typeof name === 'string')) return list
  throw wrong(field, 'a list of names', list)
}

function readScheme(at: string, weights: unknown): WeightScheme {
  if (!isMap(weights)) throw wrong(at, 'a map', weights)
  const { num_bits: bits, type = 'int', symmetric = true, group_size: size, block_structure: block } = weights
  if (type !== 'int' && type !== 'float') throw wrong(`${at}.type`, 'int or float', type)
  const most = type === 'int' ? 1 : 8
  if (!(isPositive(bits) && bits >= most && bits <= 8))
    throw wrong(`${at}.num_bits`, type === 'int' ? 'from 1 to 8' : '8 for floats', bits)
  if (typeof symmetric !== 'boolean') throw wrong(`${at}.symmetric`, 'true or false', symmetric)
  if (type === 'float' && !symmetric) throw wrong(`${at}.symmetric`, 'true for floats', symmetric)
  const form = { bits, type, symmetric } as const
  // What the library fills in where the strategy is missing.
  const strategy =
    weights.strategy ?? (size === undefined || size === null ? 'tensor' : size === -1 ? 'channel' : 'group')
  switch (strategy) {
    case 'tensor':
      return { ...form, rows: 'all', columns: 'row' }
    case 'channel':
      return { ...form, rows: 1, columns: 'row' }
    case 'group':
      if (!isPositive(size)) throw wrong(`${at}.group_size`, 'a whole number above 0', size)
      return { ...form, rows: 1, columns: size }
    case 'block':
      if (!(Array.isArray(block) && block.length === 2 && block.every(isPositive)))
        throw wrong(`${at}.block_structure`, 'two whole numbers above 0', block)
      return { ...form, rows: block[0] as number, columns: block[1] as number }
    default:
      throw wrong(`${at}.strategy`, 'tensor, channel, group or block', strategy)
  }
}

/**
 * The scheme of each module: of the targets its name comes before an expression, and both before its class.
 *
 * @throws OptionError for an expression that is not valid.
 */
export function schemesOf(
  { groups, ignore }: CompressedTensorsConfig,
  modules: readonly string[],
): (module: string) => WeightScheme {
  const time = patternTime()
  const ignored = ranksOf('quantization_config.ignore', ignore, modules, time)
  const ranked = groups.map(({ targets, scheme }) => ({
    scheme,
    ranks: ranksOf('quantization_config.config_groups', targets, modules, time),
  }))
  const places = new Map(modules.map((module, at) => [module, at]))
  return (module) => {
    const at = places.get(module)!
    let [best, found]: [number, WeightScheme | undefined] = [0, undefined]
    if (ignored[at] === 0)
      for (const { ranks, scheme } of ranked) if (ranks[at]! > best) [best, found] = [ranks[at]!, scheme]
    if (found) return found
    throw new FormatError(
      `${printable(module)}: is stored as codes, but no group of quantization_config names it; the configuration does not fit`,
      { code: 'PARE_E_COMPRESSED_TENSORS_CONFIG', facts: { module } },
    )
  }
}

/** How well the best of the targets takes each module: 3 by its name, 2 by an expression, 1 by its class, 0 not at all. */
function ranksOf(
  at: string,
  targets: readonly string[],
  modules: readonly string[],
  time: PatternTime,
): number[] {
  const ranks = modules.map(() => 0)
  for (const target of targets) {
    // The library matches expressions from the beginning of a name.
    const expression = target.startsWith('re:') ? `re:^(?:${target.slice(3)})` : undefined
    const matches = expression ? patternMatches(at, expression, modules, time) : []
    for (const [i, module] of modules.entries()) {
      const isClass = target === (module.endsWith('embed_tokens') ? 'Embedding' : 'Linear')
      const rank = expression ? (matches[i] ? 2 : 0) : target === module ? 3 : isClass ? 1 : 0
      ranks[i] = Math.max(ranks[i]!, rank)
    }
  }
  return ranks
}

/** The first run whose number of words tells, then the version. Runs that lie the same in both count as a stream. */
export function decidedPacking(
  runs: readonly { length: number; words: number }[],
  bits: number,
  version: string | undefined,
): WordPacking {
  const found = runs.map(({ length, words }) => packingOf(length, bits, words))
  const tells = runs.findIndex(
    ({ length }) => packedLength(length, bits, 'stream') !== packedLength(length, bits, 'words'),
  )
  if (tells >= 0) return found[tells] as WordPacking
  return found.includes('either') ? packingOfVersion(version ?? '') : 'stream'
}
