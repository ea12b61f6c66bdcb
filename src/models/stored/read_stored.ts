/** Stored values of a Pare folder from its tensors, which `pare_tensors.ts` lists. */
import type { TensorArchive } from '../../formats/archive.ts'
import { rowWords, unpackRows, unpackRowsInto } from '../../formats/bit_stream.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import type { BlockTypeName } from '../../nn/block_types.ts'
import { groupWidth, neighbourGroups } from '../../nn/grid.ts'
import { wordsNeeded, wordsOfRows } from '../../nn/values/column_levels.ts'
import { decodeStored, type StoredValues } from '../../nn/values/values.ts'
import { fromBytes, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { childrenOf, tensorsOfStored } from './pare_tensors.ts'
import { marksOfRow } from './row_marks.ts'
import { Parts, type Rows } from './stored_parts.ts'

type Kind<K extends PareWeight['kind']> = PareWeight & { kind: K }

/**
 * Rows `start` to `end` (exclusive) of a weight. Only these are read, but for what a row needs of others: codebooks, the
 * right of a product, the tiles around, and all rows of a rotated grid; rows that begin or end within a tile, few rows of a
 * product, and some of a rotated grid come as numbers.
 *
 * @param weight as `readPareJson` checked it
 * @throws FormatError where the tensors do not fit the description.
 */
export function readStored(
  archive: TensorArchive,
  name: string,
  weight: PareWeight,
  start: number,
  end: number,
): StoredValues {
  return scope(() => read({ archive, name, weight }, start, end))
}

/** Products of fewer rows add in another order, and would not be those of the whole: they are computed with neighbours. */
const FEW = 8

interface Place {
  archive: TensorArchive
  name: string
  weight: PareWeight
}

function read({ archive, name, weight }: Place, start: number, end: number): StoredValues {
  const infos = new Map(tensorsOfStored(name, weight).map((info) => [info.name, info]))
  const parts = new Parts(archive, name, infos)
  const [rows, columns] = weight.shape
  const child = (at: number, from = start, to = end): StoredValues => {
    const [part, described] = childrenOf(name, weight)[at]!
    return read({ archive, name: part, weight: described }, from, to)
  }
  switch (weight.kind) {
    case 'dense':
      return { kind: 'dense', numbers: parts.numbers('numbers', weight.numberType, [start, end]) }
    case 'grid':
    case 'offset':
      return readSteps(parts, weight, start, end)
    case 'blocks': {
      const bytes = parts.bytes('blocks', [start, end])
      const shape = [end - start, columns] as const
      const width = infos.get(`${name}.blocks`)!.shape[1]!
      const type = weight.type as BlockTypeName
      return { kind: 'blocks', type, shape, bytes: fromBytes(bytes, [end - start, width], 'u8') }
    }
    case 'bilevel':
      return wholeTiles(weight.tile.rows, start, end, (from, to) => readBilevel(parts, weight, from, to))
    case 'codebook':
      return wholeTiles(weight.tile.rows, start, end, (from, to) => readCodebook(parts, weight, from, to))
    case 'column_levels':
      return readColumnLevels(parts, weight, [start, end])
    case 'bitmask':
      return readBitmask(parts, weight, start, end)
    case 'masked_grid':
      return readMaskedGrid(parts, weight, start, end)
    case 'rotated_grid':
      // Every row is a sum of all.
      return rowsOf(readRotatedGrid(parts, weight), [0, rows], [start, end])
    case 'sparse_rows':
      return readSparseRows(parts, weight, start, end)
    case 'sum':
      return {
        ...{ kind: 'sum', terms: weight.terms.map((_, i) => child(i)) },
        ...(weight.rounded && { rounded: weight.rounded }),
      }
    case 'product': {
      const first = Math.max(0, Math.min(start, rows - FEW))
      const last = Math.min(rows, Math.max(end, first + FEW))
      const right = child(1, 0, weight.right.shape[0])
      const values: StoredValues = { kind: 'product', left: child(0, first, last), right }
      return rowsOf(values, [first, last], [start, end])
    }
    case 'scaled':
      return {
        kind: 'scaled',
        values: child(0),
        ...(weight.rowType && { rows: parts.numbers('row_scales', weight.rowType, [start, end]) }),
        ...(weight.columnType && { columns: parts.numbers('column_scales', weight.columnType) }),
      }
    case 'permuted': {
      const order = parts.columns('order', columns)
      const seen = new Uint8Array(columns)
      for (const column of order) seen[column] = 1
      if (seen.includes(0)) throw parts.wrong('order', `does not name each of ${columns} columns once`)
      return { kind: 'permuted', values: child(0), order }
    }
  }
}

function readSteps(
  parts: Parts,
  weight: Kind<'grid'> | Kind<'offset'>,
  start: number,
  end: number,
): StoredValues {
  const [, columns] = weight.shape
  const { bits, groupSize, scaleType } = weight
  const rows: Rows = [start, end]
  const codes = parts.codes('codes', rows, columns, bits)
  const scales = parts.numbers('scales', scaleType, rows).cast('f32')
  const groupOf = readGroups(parts, weight)
  if (weight.kind === 'offset') {
    const offsets = parts.numbers('offsets', scaleType, rows).cast('f32')
    return { kind: 'offset', form: { bits, groupSize, scaleType }, codes, scales, offsets, groupOf }
  }
  const { symmetric } = weight
  const zeros = readZeros(parts, weight, rows)
  return { kind: 'grid', grid: { bits, groupSize, symmetric, scaleType }, codes, scales, zeros, groupOf }
}

/** Group of each column. */
function readGroups(parts: Parts, weight: Kind<'grid'> | Kind<'offset'> | Kind<'masked_grid'>): Uint32Array {
  const [, columns] = weight.shape
  const width = groupWidth(weight, columns)
  const groups = Math.ceil(columns / width)
  const groupOf = weight.sorted ? parts.words('group_of') : neighbourGroups(columns, width)
  if (groupOf.some((group) => group >= groups))
    throw parts.wrong('group_of', `names a group past the last of ${groups}`)
  return groupOf
}

function readZeros(parts: Parts, weight: Kind<'grid'> | Kind<'masked_grid'>, [start, end]: Rows): Tensor {
  const { bits, symmetric, shape } = weight
  const groups = Math.ceil(shape[1] / groupWidth(weight, shape[1]))
  if (symmetric)
    return tensor(new Uint8Array((end - start) * groups).fill(2 ** (bits - 1)), [end - start, groups], 'u8')
  return weight.kind === 'grid' && weight.zeroType
    ? parts.numbers('zeros', weight.zeroType, [start, end])
    : parts.codes('zeros', [start, end], groups, bits)
}

/** Rows of values that come in tiles of rows: as they are where they begin and end with one, else as numbers. */
function wholeTiles(
  high: number,
  start: number,
  end: number,
  tiles: (from: number, to: number) => StoredValues,
): StoredValues {
  const from = Math.floor(start / high)
  const to = Math.ceil(end / high)
  return rowsOf(tiles(from, to), [from * high, to * high], [start, end])
}

/** Rows of values that hold the rows around them too: as they are where that is all, else as numbers. */
function rowsOf(values: StoredValues, [first, last]: Rows, [start, end]: Rows): StoredValues {
  if (start === first && end === last) return values
  const numbers = scope(() =>
    decodeStored(values)
      .slice(0, start - first, end - first)
      .contiguous(),
  )
  return { kind: 'dense', numbers }
}

function readBilevel(parts: Parts, weight: Kind<'bilevel'>, from: number, to: number): StoredValues {
  const { bits, scaleBits, zeroBits, tile, shape, wholeZeros } = weight
  const rows: Rows = [from * tile.rows, to * tile.rows]
  const second = (suffix: string) => parts.numbers(suffix, 'f16', [from, to]).cast('f32')
  const groups = shape[1] / tile.columns
  return {
    kind: 'bilevel',
    ...{ bits, tile },
    ...(scaleBits !== undefined && { scaleBits }),
    ...(zeroBits !== undefined && { zeroBits }),
    codes: parts.codes('codes', rows, shape[1], bits),
    scaleCodes: parts.codes('scale_codes', rows, groups, scaleBits ?? bits),
    zeroCodes: parts.codes('zero_codes', rows, groups, zeroBits ?? bits),
    second: {
      scaleScale: second('scale_scales'),
      scaleZero: second('scale_zeros'),
      ...(!wholeZeros && { zeroScale: second('zero_scales'), zeroZero: second('zero_zeros') }),
    },
  }
}

function readCodebook(parts: Parts, weight: Kind<'codebook'>, from: number, to: number): StoredValues {
  const { bits, books, entries, tile, shape } = weight
  const [high, wide] = [to - from, shape[1] / tile.columns]
  const words = parts.words('codes', [from, to])
  const codes = unpackRowsInto(new Uint16Array(high * wide * books), words, high, wide * books, bits)
  if (codes.some((code) => code >= entries))
    throw parts.wrong('codes', `names an entry past the last of ${entries}`)
  return {
    kind: 'codebook',
    ...{ bits, shape: [high * tile.rows, shape[1]] },
    codes: tensor(codes, [high, wide, books], 'u32'),
    codebooks: parts.numbers('codebooks', 'f16').cast('f32'),
    scales: parts.numbers('scales', 'f16', [from, to]).cast('f32'),
  }
}

function readColumnLevels(parts: Parts, weight: Kind<'column_levels'>, rows: Rows): StoredValues {
  const { shape, centred } = weight
  const levels = parts.numbers('levels', 'u16')
  if ((levels.toArray() as Uint16Array).includes(0)) throw parts.wrong('levels', 'has a column of no level')
  const needed = wordsNeeded(levels, shape[0])
  if (needed !== weight.words) throw parts.wrong('levels', `needs ${needed} words, got ${weight.words}`)
  const ofRows = (suffix: string) => parts.numbers(suffix, 'f16', rows).cast('f32')
  return {
    kind: 'column_levels',
    ...{
      shape: [rows[1] - rows[0], shape[1]],
      levels,
      lows: ofRows('lows'),
      highs: ofRows('highs'),
      centred,
    },
    words: wordsOfRows(parts.numbers('words', 'u64'), levels, shape[0], rows),
  }
}

function readBitmask(parts: Parts, weight: Kind<'bitmask'>, start: number, end: number): StoredValues {
  const { mask, living } = readMarks(parts, weight, [start, end])
  const kept = parts.numbers('kept', weight.numberType, living)
  return { kind: 'bitmask', shape: [end - start, weight.shape[1]], mask, kept }
}

/** Marks of some rows, and which of all marked places theirs are. */
function readMarks(
  parts: Parts,
  { shape, kept }: Kind<'bitmask'> | Kind<'masked_grid'>,
  [start, end]: Rows,
): { mask: Uint8Array; living: Rows } {
  const mask = parts.bytes('mask', [start, end])
  const offsets = parts.rowOffsets([start, end], kept)
  for (let row = 0; row < end - start; row++) {
    const [marks, values] = [marksOfRow(mask, row, shape[1]), offsets[row + 1]! - offsets[row]!]
    if (marks !== values)
      throw parts.wrong('mask', `marks ${marks} places of row ${start + row} for ${values} values`)
  }
  return { mask, living: [offsets[0]!, offsets.at(-1)!] }
}

function readMaskedGrid(parts: Parts, weight: Kind<'masked_grid'>, start: number, end: number): StoredValues {
  const { bits, groupSize, symmetric, scaleType, shape } = weight
  const rows: Rows = [start, end]
  const { mask, living } = readMarks(parts, weight, rows)
  // Every 32nd code begins with a word.
  const first = living[0] - (living[0] % 32)
  const words = parts.words('codes', [(first * bits) / 32, rowWords(living[1], bits)])
  const codes = unpackRows(words, 1, living[1] - first, bits).slice(living[0] - first)
  return {
    kind: 'masked_grid',
    shape: [end - start, shape[1]],
    grid: { bits, groupSize, symmetric, scaleType },
    mask,
    codes: tensor(codes, [codes.length], 'u8'),
    scales: parts.numbers('scales', scaleType, rows).cast('f32'),
    zeros: readZeros(parts, weight, rows),
    groupOf: readGroups(parts, weight),
  }
}

function readRotatedGrid(parts: Parts, weight: Kind<'rotated_grid'>): StoredValues {
  const { bits, shape } = weight
  const [scale] = scope(() => parts.numbers('scale', 'f32').toArray() as Float32Array)
  return {
    kind: 'rotated_grid',
    bits,
    codes: parts.codes('codes', [0, shape[0]], shape[1], bits),
    scale: scale!,
    columnScales: parts.numbers('column_scales', 'f16').cast('f32'),
    seed: parts.words('seed')[0]!,
  }
}

function readSparseRows(parts: Parts, weight: Kind<'sparse_rows'>, start: number, end: number): StoredValues {
  const { shape, entries, valueType } = weight
  const offsets = parts.rowOffsets([start, end], entries)
  const [first, last] = [offsets[0]!, offsets.at(-1)!]
  const columns = parts.columns('columns', shape[1], [first, last])
  const values = scope(
    () => parts.numbers('values', valueType, [first, last]).cast('f32').toArray() as Float32Array,
  )
  const rowOffsets = offsets.map((offset) => offset - first)
  return {
    kind: 'sparse_rows',
    ...{ shape: [end - start, shape[1]], rowOffsets, columns, values, valueType },
  }
}
