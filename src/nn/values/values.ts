/**
 * How a weight is stored: numbers, codes of some kind, or a small tree over them. What a file holds is read into these,
 * and what a method made is written from them.
 */
import { sizeOf } from '../../tensor/dtype.ts'
import { indexSelect, linear, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { decodeValues, sizeOfValues, type Values } from '../grid.ts'
import type { WeightSource } from '../weight_source.ts'
import { type BilevelValues, bitsOfBilevel, decodeBilevel } from './bilevel_grid.ts'
import { type BitmaskValues, bitsOfBitmask, decodeBitmask } from './bitmask.ts'
import { bitsOfCodebooks, type CodebookValues, decodeCodebooks } from './codebook.ts'
import { bitsOfColumnLevels, type ColumnLevelValues, decodeColumnLevels } from './column_levels.ts'
import { bitsOfMaskedGrid, decodeMaskedGrid, type MaskedGridValues } from './masked_grid.ts'
import { bitsOfOffsets, decodeOffsets, type OffsetValues } from './offset_grid.ts'
import {
  bitsOfRotatedGrid,
  decodeRotatedGrid,
  type RotatedGridValues,
  rotatedProduct,
} from './rotated_grid.ts'
import { bitsOfSparseRows, decodeSparseRows, type SparseRowValues } from './sparse_rows.ts'

/** Numbers as they are, [rows, columns] in any float type. */
export interface DenseValues {
  kind: 'dense'
  numbers: Tensor
}

/** Terms of one shape, added in f32 in their order. */
export interface SumValues {
  kind: 'sum'
  terms: readonly StoredValues[]
  /** Type that the sum is rounded to. @default not */
  rounded?: 'f16'
}

/** left [rows, rank] times right [rank, columns]: low rank. */
export interface ProductValues {
  kind: 'product'
  left: StoredValues
  right: StoredValues
}

/** Values times a factor a row, a factor a column, or both. */
export interface ScaledValues {
  kind: 'scaled'
  values: StoredValues
  /** [rows] */
  rows?: Tensor
  /** [columns] */
  columns?: Tensor
}

/** Columns in another order: column `order[c]` of the weight is column c of the values. */
export interface PermutedValues {
  kind: 'permuted'
  values: StoredValues
  order: Uint32Array
}

export type StoredValues =
  | DenseValues
  | Values
  | OffsetValues
  | BilevelValues
  | CodebookValues
  | ColumnLevelValues
  | BitmaskValues
  | MaskedGridValues
  | RotatedGridValues
  | SparseRowValues
  | SumValues
  | ProductValues
  | ScaledValues
  | PermutedValues

/** [rows, columns] of the weight. */
export function shapeOfStored(values: StoredValues): readonly [number, number] {
  switch (values.kind) {
    case 'dense':
      return values.numbers.shape as [number, number]
    case 'grid':
    case 'offset':
    case 'bilevel':
    case 'rotated_grid':
      return values.codes.shape as [number, number]
    case 'blocks':
    case 'codebook':
    case 'column_levels':
    case 'bitmask':
    case 'masked_grid':
    case 'sparse_rows':
      return values.shape
    case 'sum':
      return shapeOfStored(values.terms[0]!)
    case 'product':
      return [shapeOfStored(values.left)[0], shapeOfStored(values.right)[1]]
    case 'scaled':
    case 'permuted':
      return shapeOfStored(values.values)
  }
}

/** The weight as numbers, f32 [rows, columns]. No gradient goes back through it. */
export function decodeStored(values: StoredValues): Tensor {
  switch (values.kind) {
    case 'dense':
      return values.numbers.cast('f32')
    case 'grid':
    case 'blocks':
      return decodeValues(values)
    case 'offset':
      return decodeOffsets(values)
    case 'bilevel':
      return decodeBilevel(values)
    case 'codebook':
      return decodeCodebooks(values)
    case 'column_levels':
      return decodeColumnLevels(values)
    case 'bitmask':
      return decodeBitmask(values)
    case 'masked_grid':
      return decodeMaskedGrid(values)
    case 'rotated_grid':
      return decodeRotatedGrid(values)
    case 'sparse_rows':
      return decodeSparseRows(values)
    case 'sum':
      return scope(() => {
        const sum = values.terms.map(decodeStored).reduce((total, term) => total.add(term))
        return values.rounded ? sum.cast(values.rounded).cast('f32') : sum
      })
    case 'product':
      return scope(() => decodeStored(values.left).matmul(decodeStored(values.right)))
    case 'scaled':
      return scope(() => {
        const dense = decodeStored(values.values)
        const byRow = values.rows ? dense.mul(values.rows.reshape([dense.extent(0), 1])) : dense
        return values.columns ? byRow.mul(values.columns) : byRow
      })
    case 'permuted':
      return scope(() => {
        const place = inverse(values.order)
        return indexSelect(decodeStored(values.values), 1, tensor(place, [place.length], 'u32'))
      })
  }
}

function inverse(order: Uint32Array): Uint32Array {
  const places = new Uint32Array(order.length)
  for (const [place, column] of order.entries()) places[column] = place
  return places
}

/** Bits that the weight takes, metadata included. */
export function bitsOfStored(values: StoredValues): number {
  switch (values.kind) {
    case 'dense':
      return values.numbers.size * sizeOf(values.numbers.dtype) * 8
    case 'grid':
    case 'blocks':
      return sizeOfValues(values).storedBits
    case 'offset':
      return bitsOfOffsets(values)
    case 'bilevel':
      return bitsOfBilevel(values)
    case 'codebook':
      return bitsOfCodebooks(values)
    case 'column_levels':
      return bitsOfColumnLevels(values)
    case 'bitmask':
      return bitsOfBitmask(values, sizeOf(values.kept.dtype) * 8)
    case 'masked_grid':
      return bitsOfMaskedGrid(values)
    case 'rotated_grid':
      return bitsOfRotatedGrid(values)
    case 'sparse_rows':
      return bitsOfSparseRows(values)
    case 'sum':
      return values.terms.reduce((sum, term) => sum + bitsOfStored(term), 0)
    case 'product':
      return bitsOfStored(values.left) + bitsOfStored(values.right)
    case 'scaled': {
      const factors = [values.rows, values.columns].filter((factor) => factor !== undefined)
      return factors.reduce(
        (sum, { size, dtype }) => sum + size * sizeOf(dtype) * 8,
        bitsOfStored(values.values),
      )
    }
    case 'permuted':
      return bitsOfStored(values.values) + 16 * values.order.length
  }
}

export interface StoredSource extends WeightSource {
  readonly values: StoredValues
}

/**
 * A weight held as it is stored. Products expand it for the length of the call; behind random orthogonal maps, without them.
 *
 * @example storedSource({ kind: 'dense', numbers: tensor([1, 2], [1, 2]) }).matmul(x)
 */
export function storedSource(values: StoredValues): StoredSource {
  const bits = bitsOfStored(values)
  return {
    values,
    shape: shapeOfStored(values),
    matmul:
      values.kind === 'rotated_grid'
        ? rotatedProduct(values)
        : (x, bias) => scope(() => linear(x, decodeStored(values), bias)),
    dense: () => decodeStored(values),
    parameters: () => new Map(),
    size: () => ({ informationBits: bits, storedBits: bits }),
    resources: () => tensorsOf(values),
  }
}

/** Every tensor of the tree. */
export function tensorsOf(values: StoredValues): Tensor[] {
  switch (values.kind) {
    case 'dense':
      return [values.numbers]
    case 'grid':
    case 'masked_grid':
      return [values.codes, values.scales, values.zeros]
    case 'blocks':
      return [values.bytes]
    case 'offset':
      return [values.codes, values.scales, values.offsets]
    case 'bilevel':
      return [values.codes, values.scaleCodes, values.zeroCodes, ...Object.values(values.second)]
    case 'codebook':
      return [values.codes, values.codebooks, values.scales]
    case 'column_levels':
      return [values.levels, values.lows, values.highs, values.words]
    case 'rotated_grid':
      return [values.codes, values.columnScales]
    case 'bitmask':
      return [values.kept]
    case 'sparse_rows':
      return []
    case 'sum':
      return values.terms.flatMap(tensorsOf)
    case 'product':
      return [...tensorsOf(values.left), ...tensorsOf(values.right)]
    case 'scaled':
      return [...tensorsOf(values.values), values.rows, values.columns].filter((part) => part !== undefined)
    case 'permuted':
      return tensorsOf(values.values)
  }
}
