/**
 * A database of levels on disk: a folder with one safetensors file for each layer and an index.
 *
 *   levels.json                 see level_index.ts; written anew after each layer, so that a stopped run leaves what is done
 *   layer-00001.safetensors     for level i: i.mask U8 [rows, ceil(columns / 8)] where it is masked, and
 *     numbers                   i.kept F16 or F32 [kept]
 *     codes                     i.codes U32 [words]: those of kept weights as one stream of `bits`; i.scales F16 or F32
 *                               [rows, groups]; i.zeros U8 [rows, groups] unless the grid is symmetric
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { packRows } from '../formats/bit_stream.ts'
import { disk } from '../formats/disk.ts'
import { writeWhole } from '../formats/output.ts'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { wholeText } from '../formats/text_file.ts'
import { groupWidth } from '../nn/grid.ts'
import { OptionError, printable, SourceError } from '../tensor/errors.ts'
import { bytesOf, scope } from '../tensor/index.ts'
import {
  INDEX,
  type IndexedLayer,
  type IndexedLevel,
  indexJson,
  type LevelForm,
  layerFile,
  readIndex,
} from './level_index.ts'
import { readLevel, tensorsOfLevel } from './level_tensors.ts'
import { keptOf, type Level, type LevelValues, shapeOfLevel } from './levels.ts'

export interface LevelWriter {
  /** What is in the database so far, a run before this one included. */
  readonly layers: readonly IndexedLayer[]
  /**
   * Writes all levels of a layer, one at a time, and puts it into the index.
   *
   * @throws OptionError for a layer that is there already, for levels of other shapes, and for names that stand twice
   */
  add(layer: { name: string; shape: readonly [number, number]; uses: number }, levels: Iterable<Level>): void
}

/** Longest index that is read, in characters. */
const LONGEST_INDEX = 2 ** 28

/** Starts a database in a folder, or goes on with the one that is there. The folder above must exist. */
export function writeLevels(folder: string): LevelWriter {
  if (!existsSync(folder)) disk().makeFolder(folder)
  const layers: IndexedLayer[] = existsSync(join(folder, INDEX)) ? indexedLayers(folder) : []
  return {
    layers,
    add({ name, shape, uses }, levels) {
      if (layers.some((other) => other.name === name))
        throw new OptionError(
          `${printable(name)}: is in the database already; take another folder to make it anew`,
        )
      if (!(Number.isSafeInteger(uses) && uses >= 1))
        throw new OptionError(`${printable(name)}: uses must be a whole number from 1 on, got ${uses}`)
      const file = layerFile(layers.length)
      const indexed: IndexedLevel[] = []
      const parts: { name: string; type: string; shape: readonly number[]; bytes: Uint8Array }[] = []
      for (const level of levels) {
        if (shapeOfLevel(level.values).some((extent, axis) => extent !== shape[axis]))
          throw new OptionError(
            `${printable(name)}, ${printable(level.level)}: needs shape [${shape}], got [${shapeOfLevel(level.values)}]`,
          )
        if (indexed.some((other) => other.level === level.level))
          throw new OptionError(
            `${printable(name)}: two levels are called ${printable(level.level)}; rename one`,
          )
        const found = indexedLevel(level)
        const bytes = scope(() => bytesOfLevel(level.values))
        for (const [i, info] of tensorsOfLevel(indexed.length, found, shape).entries())
          parts.push({ ...info, bytes: bytes[i]! })
        indexed.push(found)
      }
      const writer = createSafetensors(join(folder, file), parts, { metadata: {} })
      try {
        for (const part of parts) writer.append(part.name, part.bytes)
        writer.finish()
      } catch (error) {
        writer.abort()
        throw error
      }
      const next = [...layers, { name, shape, uses, file, levels: indexed }]
      // What cannot be read back is not written.
      readIndex(indexJson(next))
      writeWhole(join(folder, INDEX), indexJson(next))
      layers.push(next.at(-1)!)
    },
  }
}

/** The index of a folder. @throws FormatError where it is damaged, SourceError where there is none */
export function indexedLayers(folder: string): IndexedLayer[] {
  const path = join(folder, INDEX)
  if (!existsSync(path))
    throw new SourceError(
      `${printable(folder)}: holds no ${INDEX}; give the folder of a database of levels`,
      {
        code: 'PARE_E_NO_LEVELS',
        facts: { path: folder },
      },
    )
  return readIndex(wholeText(path, LONGEST_INDEX))
}

export interface LevelReader {
  readonly layers: readonly IndexedLayer[]
  /** The values of one level; the caller's scope owns them. @throws OptionError for a name that is not there */
  read(layer: string, level: string): LevelValues
}

/**
 * Opens a database. Files are read level by level, and checked as they are.
 *
 * @throws FormatError where the index or a file is damaged, SourceError where one is missing
 * @example openLevels('levels').read('fc1.weight', 'sparse 0.5')
 */
export function openLevels(folder: string): LevelReader {
  const layers = indexedLayers(folder)
  return {
    layers,
    read(name, level) {
      const layer = layers.find((other) => other.name === name)
      const at = layer?.levels.findIndex((other) => other.level === level) ?? -1
      if (!layer || at < 0)
        throw new OptionError(
          `${printable(name)}, ${printable(level)}: the database has no such level; choose one of its index`,
          { facts: { layer: name, level } },
        )
      const archive = openSafetensors(join(folder, layer.file))
      try {
        return readLevel(archive, at, layer.levels[at]!, layer.shape)
      } finally {
        archive.close()
      }
    },
  }
}

function indexedLevel({ level, error, values, pattern }: Level): IndexedLevel {
  return {
    ...{ level, error, form: formOf(level, values), kept: keptOf(values), masked: values.mask !== undefined },
    ...(pattern && { pattern }),
  }
}

function formOf(level: string, values: LevelValues): LevelForm {
  if (values.kind === 'numbers') {
    const { dtype } = values.kept
    if (dtype === 'f16' || dtype === 'f32') return { kind: 'numbers', numberType: dtype }
    throw new OptionError(
      `${printable(level)}: numbers are stored as f16 or f32, got ${dtype}; cast them first`,
    )
  }
  const { grid, groupOf } = values.values
  const { bits, groupSize, symmetric, scaleType } = grid
  const width = groupWidth(grid, groupOf.length)
  if (groupOf.some((group, column) => group !== Math.floor(column / width)))
    throw new OptionError(`${printable(level)}: groups are neighbouring columns; round without another order`)
  if (scaleType === 'bf16')
    throw new OptionError(
      `${printable(level)}: scales are stored as f16 or f32, got bf16; choose another grid`,
    )
  return { kind: 'codes', bits, groupSize, symmetric, scaleType }
}

/** In the order of `tensorsOfLevel`. */
function bytesOfLevel(values: LevelValues): Uint8Array[] {
  const mask = values.mask ? [values.mask] : []
  if (values.kind === 'numbers') return [...mask, values.kept.bytes()]
  const { grid, codes, scales, zeros } = values.values
  const kept = keptCodes(codes.toArray() as Uint8Array, codes.extent(1), values.mask)
  const words = packRows(kept, 1, kept.length, grid.bits)
  const steps = [bytesOf(words), scales.cast(grid.scaleType).bytes()]
  return [...mask, ...steps, ...(grid.symmetric ? [] : [zeros.cast('u8').bytes()])]
}

function keptCodes(codes: Uint8Array, columns: number, mask: Uint8Array | undefined): Uint8Array {
  if (!mask) return codes
  const width = Math.ceil(columns / 8)
  return codes.filter((_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns]
    return (mask[row * width + (column >> 3)]! >> (column & 7)) & 1
  })
}
