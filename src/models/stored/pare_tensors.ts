/**
 * The tensors that a weight takes in a Pare folder, known from its description alone.
 *
 *   dense        NAME.numbers [rows, columns]
 *   grid         NAME.codes, NAME.scales [rows, groups], NAME.zeros (U32 as codes, or U8 or F32 [rows, groups];
 *                absent on symmetric grids), NAME.group_of I32 [columns] (absent where groups are neighbours)
 *   offset       NAME.codes, NAME.scales, NAME.offsets [rows, groups], NAME.group_of
 *   blocks       NAME.blocks U8 [rows, bytes]: rows of a ggml block type
 *   bilevel      NAME.codes, NAME.scale_codes, NAME.zero_codes, and F16 [tiles of rows, groups] NAME.scale_scales,
 *                NAME.scale_zeros, NAME.zero_scales, NAME.zero_zeros (the last two absent where zeros are their codes)
 *   codebook     NAME.codes (a stream for each row of tiles: the codes of a tile, one a book, side by side),
 *                NAME.codebooks F16 [books, entries, tile rows, tile columns], NAME.scales F16 [rows of tiles]
 *   column_levels  NAME.levels U16 [columns], NAME.lows and NAME.highs F16 [rows], NAME.words U64 [words]: column after
 *                column, each from a new word on; code r of a word counts N^r, N the levels of the column
 *   bitmask      NAME.mask U8 [rows, bytes], NAME.row_offsets U32 [rows + 1], NAME.kept [kept]
 *   masked_grid  NAME.mask, NAME.row_offsets, NAME.codes U32 [words] (one stream of the living, row after row),
 *                NAME.scales [rows, groups], NAME.zeros, NAME.group_of
 *   rotated_grid  NAME.codes, NAME.scale F32 [1], NAME.column_scales F16 [columns], NAME.seed U32 [1]
 *   sparse_rows  NAME.row_offsets U32 [rows + 1], NAME.columns [entries], NAME.values [entries]
 *   sum          NAME.terms.0 and so on, each a weight by itself: NAME.terms.0.codes
 *   product      NAME.left, NAME.right
 *   scaled       NAME.values, NAME.row_scales [rows], NAME.column_scales [columns], where they are
 *   permuted     NAME.values, NAME.order [columns]
 *
 * Codes are U32 [rows, words]: a row is one little-endian bit stream, padded to words. Numbers have the type that the
 * description says. Columns are U16 up to 65536 of them, else U32.
 */
import type { TensorInfo } from '../../formats/archive.ts'
import { rowWords } from '../../formats/bit_stream.ts'
import { type NumberType, numberTypes, type PareWeight } from '../../formats/pare_weight.ts'
import { isBlockType, rowBytes } from '../../nn/block_types.ts'
import { groupWidth } from '../../nn/grid.ts'
import { type StoredValues, shapeOfStored } from '../../nn/values/values.ts'
import { FormatError, OptionError, printable } from '../../tensor/errors.ts'
import { scope, type Tensor } from '../../tensor/index.ts'

/** How the values are put together. @throws OptionError for numbers of a type that is no float type. */
export function describeStored(values: StoredValues): PareWeight {
  const [rows, columns] = shapeOfStored(values)
  const shape: [number, number] = [rows, columns]
  switch (values.kind) {
    case 'dense':
      return { kind: 'dense', shape, numberType: numberTypeOf(values.numbers) }
    case 'grid': {
      const { bits, groupSize, symmetric, scaleType } = values.grid
      const zeroType = symmetric ? undefined : zeroTypeOf(values.zeros, bits)
      const sorted = isSorted(values)
      return {
        ...{ kind: 'grid', shape, bits, groupSize, symmetric, scaleType },
        ...(zeroType && { zeroType }),
        sorted,
      }
    }
    case 'blocks':
      return { kind: 'blocks', type: values.type, shape }
    case 'offset': {
      const { bits, groupSize, scaleType } = values.form
      return { kind: 'offset', shape, bits, groupSize, scaleType, sorted: isSorted(values) }
    }
    case 'bilevel': {
      const { bits, scaleBits = bits, zeroBits = bits, tile, second } = values
      return {
        ...{ kind: 'bilevel', shape, bits, tile },
        ...(scaleBits !== bits && { scaleBits }),
        ...(zeroBits !== bits && { zeroBits }),
        ...(!second.zeroScale && { wholeZeros: true }),
      }
    }
    case 'codebook': {
      const [books, entries, high, wide] = values.codebooks.shape as [number, number, number, number]
      return {
        kind: 'codebook',
        shape,
        bits: values.bits,
        books,
        entries,
        tile: { rows: high, columns: wide },
      }
    }
    case 'column_levels':
      return { kind: 'column_levels', shape, words: values.words.size, centred: values.centred }
    case 'bitmask':
      return { kind: 'bitmask', shape, kept: values.kept.size, numberType: numberTypeOf(values.kept) }
    case 'masked_grid': {
      const { bits, groupSize, symmetric, scaleType } = values.grid
      const steps = { bits, groupSize, symmetric, scaleType, sorted: isSorted(values) }
      return { kind: 'masked_grid', shape, kept: values.codes.size, ...steps }
    }
    case 'rotated_grid':
      return { kind: 'rotated_grid', shape, bits: values.bits }
    case 'sparse_rows':
      return { kind: 'sparse_rows', shape, entries: values.values.length, valueType: values.valueType }
    case 'sum':
      return {
        ...{ kind: 'sum', shape, terms: values.terms.map(describeStored) },
        ...(values.rounded && { rounded: values.rounded }),
      }
    case 'product':
      return {
        kind: 'product',
        shape,
        left: describeStored(values.left),
        right: describeStored(values.right),
      }
    case 'scaled':
      return {
        ...{ kind: 'scaled', shape, values: describeStored(values.values) },
        ...(values.rows && { rowType: numberTypeOf(values.rows) }),
        ...(values.columns && { columnType: numberTypeOf(values.columns) }),
      }
    case 'permuted':
      return { kind: 'permuted', shape, values: describeStored(values.values) }
  }
}

/** Groups are not neighbours, so that a reader needs to be told them. */
function isSorted(values: StoredValues & { kind: 'grid' | 'offset' | 'masked_grid' }): boolean {
  const [, columns] = shapeOfStored(values)
  const width = groupWidth(values.kind === 'offset' ? values.form : values.grid, columns)
  return values.groupOf.some((group, column) => group !== Math.floor(column / width))
}

function numberTypeOf({ dtype }: Tensor): NumberType {
  if (numberTypes.includes(dtype as NumberType)) return dtype as NumberType
  throw new OptionError(
    `a Pare folder stores numbers as ${numberTypes.join(', ')}, got ${dtype}; cast them first`,
    { facts: { dtype } },
  )
}

/** Whole zeros below 2^bits are stored as codes are. */
function zeroTypeOf(zeros: Tensor, bits: number): 'u8' | 'f32' | undefined {
  if (zeros.dtype !== 'u8') return 'f32'
  return scope(() => zeros.bytes()).some((zero) => zero >= 2 ** bits) ? 'u8' : undefined
}

/** Type of numbers that name a column. */
export const columnType = (columns: number): 'U16' | 'U32' => (columns <= 2 ** 16 ? 'U16' : 'U32')

/** Parts of a tree by the names that they have in the file. */
export function childrenOf(name: string, weight: PareWeight): (readonly [name: string, child: PareWeight])[] {
  switch (weight.kind) {
    case 'sum':
      return weight.terms.map((term, i) => [`${name}.terms.${i}`, term] as const)
    case 'product':
      return [
        [`${name}.left`, weight.left],
        [`${name}.right`, weight.right],
      ]
    case 'scaled':
    case 'permuted':
      return [[`${name}.values`, weight.values]]
    default:
      return []
  }
}

/**
 * The tensors of a weight, in the order in which they are encoded: of a tree, those of its parts come last.
 *
 * @throws FormatError for a block type that Pare does not know, or whose blocks do not divide the rows.
 * @example tensorsOfStored('w', { kind: 'dense', shape: [2, 3], numberType: 'f16' }) // w.numbers, F16 [2, 3]
 */
export function tensorsOfStored(name: string, weight: PareWeight): TensorInfo[] {
  const own = partsOf(name, weight).map(([part, type, ...shape]) => ({
    name: `${name}.${part}`,
    type,
    shape,
  }))
  return [...own, ...childrenOf(name, weight).flatMap(([part, child]) => tensorsOfStored(part, child))]
}

type Part = [suffix: string, type: string, ...shape: number[]]

function partsOf(name: string, weight: PareWeight): Part[] {
  const [rows, columns] = weight.shape
  switch (weight.kind) {
    case 'dense':
      return [['numbers', weight.numberType.toUpperCase(), rows, columns]]
    case 'grid':
    case 'offset': {
      const { bits, scaleType, sorted } = weight
      const groups = Math.ceil(columns / groupWidth(weight, columns))
      const scales = scaleType.toUpperCase()
      const order: Part[] = sorted ? [['group_of', 'I32', columns]] : []
      return [
        ['codes', 'U32', rows, rowWords(columns, bits)],
        ['scales', scales, rows, groups],
        ...(weight.kind === 'offset'
          ? [['offsets', scales, rows, groups] as Part]
          : zerosOf(weight, rows, groups)),
        ...order,
      ]
    }
    case 'blocks':
      return [['blocks', 'U8', rows, bytesOfRow(name, weight)]]
    case 'bilevel': {
      const { bits, scaleBits = bits, zeroBits = bits, tile, wholeZeros } = weight
      const groups = columns / tile.columns
      const second = ['scale_scales', 'scale_zeros', ...(wholeZeros ? [] : ['zero_scales', 'zero_zeros'])]
      return [
        ['codes', 'U32', rows, rowWords(columns, bits)],
        ['scale_codes', 'U32', rows, rowWords(groups, scaleBits)],
        ['zero_codes', 'U32', rows, rowWords(groups, zeroBits)],
        ...second.map((part): Part => [part, 'F16', rows / tile.rows, groups]),
      ]
    }
    case 'codebook': {
      const { bits, books, entries, tile } = weight
      const high = rows / tile.rows
      return [
        ['codes', 'U32', high, rowWords((columns / tile.columns) * books, bits)],
        ['codebooks', 'F16', books, entries, tile.rows, tile.columns],
        ['scales', 'F16', high],
      ]
    }
    case 'column_levels':
      return [
        ['levels', 'U16', columns],
        ['lows', 'F16', rows],
        ['highs', 'F16', rows],
        ['words', 'U64', weight.words],
      ]
    case 'bitmask':
      return [
        ['mask', 'U8', rows, Math.ceil(columns / 8)],
        ['row_offsets', 'U32', rows + 1],
        ['kept', weight.numberType.toUpperCase(), weight.kept],
      ]
    case 'masked_grid': {
      const { bits, kept, scaleType, sorted } = weight
      const groups = Math.ceil(columns / groupWidth(weight, columns))
      return [
        ['mask', 'U8', rows, Math.ceil(columns / 8)],
        ['row_offsets', 'U32', rows + 1],
        ['codes', 'U32', rowWords(kept, bits)],
        ['scales', scaleType.toUpperCase(), rows, groups],
        ...zerosOf(weight, rows, groups),
        ...(sorted ? [['group_of', 'I32', columns] as Part] : []),
      ]
    }
    case 'rotated_grid':
      return [
        ['codes', 'U32', rows, rowWords(columns, weight.bits)],
        ['scale', 'F32', 1],
        ['column_scales', 'F16', columns],
        ['seed', 'U32', 1],
      ]
    case 'sparse_rows':
      return [
        ['row_offsets', 'U32', rows + 1],
        ['columns', columnType(columns), weight.entries],
        ['values', weight.valueType.toUpperCase(), weight.entries],
      ]
    case 'scaled':
      return [
        ...(weight.rowType ? [['row_scales', weight.rowType.toUpperCase(), rows] as Part] : []),
        ...(weight.columnType ? [['column_scales', weight.columnType.toUpperCase(), columns] as Part] : []),
      ]
    case 'permuted':
      return [['order', columnType(columns), columns]]
    case 'sum':
    case 'product':
      return []
  }
}

function zerosOf(
  { bits, symmetric, zeroType }: Pick<PareWeight & { kind: 'grid' }, 'bits' | 'symmetric' | 'zeroType'>,
  rows: number,
  groups: number,
): Part[] {
  if (symmetric) return []
  return [
    zeroType
      ? ['zeros', zeroType.toUpperCase(), rows, groups]
      : ['zeros', 'U32', rows, rowWords(groups, bits)],
  ]
}

function bytesOfRow(name: string, { type, shape }: PareWeight & { kind: 'blocks' }): number {
  const bytes = isBlockType(type) ? rowBytes(type, shape[1]) : undefined
  if (bytes !== undefined && Number.isInteger(bytes)) return bytes
  const what = bytes === undefined ? 'the unknown block type' : `rows of ${shape[1]}, not whole blocks of`
  throw new FormatError(`pare.json: ${printable(name)} has ${what} ${printable(type)}`, {
    code: 'PARE_E_PARE_FOLDER',
  })
}
