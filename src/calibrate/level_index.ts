/** The index of a database of levels, `levels.json`: what its files hold, in numbers that nobody vouches for. */
import { isRecord, strictJson } from '../formats/json.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import type { GroupPattern } from './levels.ts'

export const INDEX = 'levels.json'
export const version = 1

/** Weights of one layer, and levels of one layer and of all. */
const limits = { weights: 2 ** 32, levels: 4096, all: 2 ** 20 }

/** How a level is stored, beside its tensors. */
export type LevelForm =
  | { kind: 'numbers'; numberType: 'f16' | 'f32' }
  | {
      kind: 'codes'
      bits: number
      groupSize: number | 'row'
      symmetric: boolean
      scaleType: 'f16' | 'f32'
    }

export interface IndexedLevel {
  readonly level: string
  readonly error: number
  readonly form: LevelForm
  /** Weights that are not pruned. */
  readonly kept: number
  /** A mask is stored. */
  readonly masked: boolean
  readonly pattern?: GroupPattern
}

export interface IndexedLayer {
  readonly name: string
  readonly shape: readonly [number, number]
  /** Multiplications of each weight for one sample: positions of a convolution, tokens of a sequence. */
  readonly uses: number
  readonly file: string
  readonly levels: readonly IndexedLevel[]
}

/** Name of the file of a layer, from its place. */
export const layerFile = (index: number): string => `layer-${String(index + 1).padStart(5, '0')}.safetensors`

export const indexJson = (layers: readonly IndexedLayer[]): string =>
  `${JSON.stringify({ format: 'pare-levels', version, layers }, null, 1)}\n`

/** @throws FormatError for a newer version, and for every field that is not what it must be */
export function readIndex(text: string): IndexedLayer[] {
  const json = strictJson(INDEX, text, { depth: 8 })
  const head = isRecord(json) ? json : {}
  if (head.format !== 'pare-levels') throw wrong('format', 'pare-levels', head.format)
  if (Number.isSafeInteger(head.version) && (head.version as number) > version)
    throw new FormatError(
      `${INDEX}: has version ${head.version}, and this Pare reads up to ${version}; use a newer Pare`,
      { code: 'PARE_E_NEWER_FILE' },
    )
  if (head.version !== version) throw wrong('version', String(version), head.version)
  if (!Array.isArray(head.layers)) throw wrong('layers', 'a list', head.layers)
  const names = new Set<string>()
  let levels = 0
  return head.layers.map((value: unknown, at) => {
    const layer = layerOf(value, at)
    if (names.has(layer.name)) throw wrong(`layers.${at}.name`, 'a name that stands once', layer.name)
    names.add(layer.name)
    levels += layer.levels.length
    if (levels > limits.all) throw wrong('layers', `at most ${limits.all} levels`, levels)
    return layer
  })
}

function layerOf(value: unknown, at: number): IndexedLayer {
  const path = `layers.${at}`
  const { name, shape, uses, file, levels } = isRecord(value) ? value : {}
  if (typeof name !== 'string' || name.length === 0 || name.length > 1000)
    throw wrong(`${path}.name`, 'a name of up to 1000 characters', name)
  const [rows, columns]: unknown[] = Array.isArray(shape) && shape.length === 2 ? shape : []
  const isShape = isWhole(rows, 1, limits.weights) && isWhole(columns, 1, limits.weights)
  if (!isShape || rows * columns > limits.weights)
    throw wrong(`${path}.shape`, `rows and columns of at most ${limits.weights} weights`, shape)
  if (!isWhole(uses, 1, 2 ** 32)) throw wrong(`${path}.uses`, 'a whole number from 1 on', uses)
  // The name follows from the place, so that no path leads out of the folder.
  if (file !== layerFile(at)) throw wrong(`${path}.file`, layerFile(at), file)
  if (!Array.isArray(levels) || levels.length === 0 || levels.length > limits.levels)
    throw wrong(`${path}.levels`, `a list of 1 to ${limits.levels} levels`, levels)
  const size: readonly [number, number] = [rows, columns]
  const names = new Set<string>()
  const read = levels.map((level: unknown, i) => {
    const found = levelOf(level, `${path}.levels.${i}`, size)
    if (names.has(found.level))
      throw wrong(`${path}.levels.${i}.level`, 'a name that stands once', found.level)
    names.add(found.level)
    return found
  })
  return { name, shape: size, uses, file: layerFile(at), levels: read }
}

function levelOf(value: unknown, path: string, [rows, columns]: readonly [number, number]): IndexedLevel {
  const { level, error, form, kept, masked, pattern } = isRecord(value) ? value : {}
  if (typeof level !== 'string' || level.length === 0 || level.length > 200)
    throw wrong(`${path}.level`, 'a name of up to 200 characters', level)
  if (!(typeof error === 'number' && Number.isFinite(error) && error >= 0))
    throw wrong(`${path}.error`, 'a number from 0 on', error)
  if (typeof masked !== 'boolean') throw wrong(`${path}.masked`, 'true or false', masked)
  if (!isWhole(kept, 0, rows * columns) || (!masked && kept !== rows * columns))
    throw wrong(
      `${path}.kept`,
      `a count of at most ${rows * columns} weights, all of them without a mask`,
      kept,
    )
  const groups = pattern === undefined ? undefined : patternOf(pattern, `${path}.pattern`)
  return {
    ...{ level, error, form: formOf(form, `${path}.form`), kept, masked },
    ...(groups && { pattern: groups }),
  }
}

function formOf(value: unknown, path: string): LevelForm {
  const { kind, numberType, bits, groupSize, symmetric, scaleType } = isRecord(value) ? value : {}
  if (kind === 'numbers') {
    if (numberType === 'f16' || numberType === 'f32') return { kind, numberType }
    throw wrong(`${path}.numberType`, 'f16 or f32', numberType)
  }
  if (kind !== 'codes') throw wrong(`${path}.kind`, 'numbers or codes', kind)
  if (!isWhole(bits, 1, 8)) throw wrong(`${path}.bits`, '1 to 8', bits)
  if (groupSize !== 'row' && !isWhole(groupSize, 1, limits.weights))
    throw wrong(`${path}.groupSize`, 'row or a whole number from 1 on', groupSize)
  if (typeof symmetric !== 'boolean') throw wrong(`${path}.symmetric`, 'true or false', symmetric)
  if (scaleType !== 'f16' && scaleType !== 'f32') throw wrong(`${path}.scaleType`, 'f16 or f32', scaleType)
  return { kind, bits, groupSize, symmetric, scaleType }
}

function patternOf(value: unknown, path: string): GroupPattern {
  const { n, m } = isRecord(value) ? value : {}
  if (isWhole(m, 1, 2 ** 16) && isWhole(n, 1, m)) return { n, m }
  throw wrong(path, 'n and m with 1 <= n <= m', value)
}

const isWhole = (value: unknown, least: number, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most

const wrong = (field: string, need: string, found: unknown) =>
  new FormatError(
    `${INDEX}: ${field} must be ${need}, got ${printable(JSON.stringify(found)?.slice(0, 200) ?? 'nothing')}; the database is damaged`,
    { code: 'PARE_E_LEVELS', facts: { field } },
  )
