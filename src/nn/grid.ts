/**
 * Values in few bits: codes on a grid, with scales and zeros per group of columns, or one of ggml's block types.
 * A grid says how weights are rounded; grid values are the result.
 */

import { OptionError } from '../tensor/errors.ts'
import { linear, scope, Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { type BlockTypeName, blockTypeOf } from './block_types.ts'
import type { SourceSize, WeightSource } from './weight_source.ts'

export type GridBits = 2 | 3 | 4 | 8

/** Evenly spaced levels as they are stored: value = scale * (code - zero), codes 0 .. 2^bits - 1. */
export interface GridForm {
  /** 1 to 8. */
  bits: number
  /** Columns per scale; the last group of a row may be shorter. `row` is one scale a row. */
  groupSize: number | 'row'
  /** The zero stands in the middle: 2^(bits - 1). */
  symmetric: boolean
  /** Type that scales are stored in. */
  scaleType: 'f16' | 'bf16' | 'f32'
}

/** A form that weights are rounded to, and how. */
export interface AffineGrid extends GridForm {
  kind: 'affine'
  bits: GridBits
  /** Searches a narrower range for each group (80 steps, error to the power 2.4). */
  search: boolean
  /** Type that scales are stored in, and rounded to before any weight is. */
  scaleType: 'f16' | 'f32'
  /** Smallest zero that the file can hold. */
  zeroLow: 0 | 1
}

/** One of ggml's block types, e.g. Q3_K: scales may be codes themselves. */
export interface BlockGrid {
  kind: 'blocks'
  type: BlockTypeName
}

export type Grid = AffineGrid | BlockGrid

/** The usual grid of GPTQ files, with everything that is not said at its default. */
export const affineGrid = (options: Partial<Omit<AffineGrid, 'kind'>> = {}): AffineGrid => ({
  kind: 'affine',
  bits: 4,
  groupSize: 64,
  symmetric: false,
  search: false,
  scaleType: 'f16',
  zeroLow: 0,
  ...options,
})

/** Short name for plans and reports: `4 bits, groups of 64` or `Q3_K`. */
export function gridName(grid: Grid): string {
  if (grid.kind === 'blocks') return grid.type
  const groups = grid.groupSize === 'row' ? 'one group a row' : `groups of ${grid.groupSize}`
  return `${grid.bits} bits, ${groups}${grid.symmetric ? ', symmetric' : ''}`
}

/** Width of a group for a matrix of `columns`. */
export const groupWidth = ({ groupSize }: Pick<GridForm, 'groupSize'>, columns: number): number =>
  groupSize === 'row' ? columns : Math.min(groupSize, columns)

/** Stored bits of a matrix on a grid, metadata included; `actOrder` adds an i32 per column. */
export function gridBits(grid: Grid, [rows, columns]: readonly [number, number], actOrder = false): number {
  if (grid.kind === 'blocks') {
    const type = blockTypeOf(grid.type)
    return ((rows * columns) / type.blockLength) * type.blockBytes * 8
  }
  return formBits(grid, [rows, columns], actOrder)
}

function formBits(form: GridForm, [rows, columns]: readonly [number, number], sorted: boolean): number {
  const groups = Math.ceil(columns / groupWidth(form, columns))
  const scaleBits = form.scaleType === 'f32' ? 32 : 16
  return rows * columns * form.bits + rows * groups * (scaleBits + form.bits) + (sorted ? 32 * columns : 0)
}

/** Codes with their scales and zeros. */
export interface AffineValues {
  kind: 'grid'
  grid: GridForm
  /** u8 [rows, columns] */
  codes: Tensor
  /** f32 [rows, groups], exactly representable in the grid's scale type. */
  scales: Tensor
  /** u8 [rows, groups]; f32 where a file has zeros between the levels. */
  zeros: Tensor
  /** Group of each column; neighbours share one unless the columns were sorted. */
  groupOf: Uint32Array
}

/** Packed blocks, as they lie in a GGUF file. */
export interface BlockValues {
  kind: 'blocks'
  type: BlockTypeName
  shape: readonly [number, number]
  /** u8 [rows, bytes of a row] */
  bytes: Tensor
}

export type Values = AffineValues | BlockValues

/** Groups of neighbouring columns. */
export const neighbourGroups = (columns: number, width: number): Uint32Array =>
  Uint32Array.from({ length: columns }, (_, column) => Math.floor(column / width))

/** f32 [rows, columns]. No gradient goes back through it. */
export function decodeValues(values: Values): Tensor {
  if (values.kind === 'blocks') {
    const { type, bytes, shape } = values
    const handle = callNative((native) => native.decodeBlocks(type, bytes.handle, shape[1]))
    return new Tensor(bytes.kernels, handle, 'f32', shape)
  }
  const { codes, scales, zeros, groupOf } = values
  return scope(() => {
    const groups = tensor(groupOf, [groupOf.length], 'u32')
    const wide = zeros.cast('f32')
    const handle = callNative((native) =>
      native.decodeGrid(codes.handle, groups.handle, scales.handle, wide.handle, 0, undefined, undefined),
    )
    return new Tensor(codes.kernels, handle, 'f32', codes.shape)
  })
}

/** Bits of codes, scales, zeros and, where columns were sorted, of the groups' names. */
export function sizeOfValues(values: Values): SourceSize {
  if (values.kind === 'blocks') {
    const bits = gridBits({ kind: 'blocks', type: values.type }, values.shape)
    return { informationBits: bits, storedBits: bits }
  }
  const { grid, codes, groupOf } = values
  const shape = codes.shape as [number, number]
  const sorted = groupOf.some((group, column) => group !== Math.floor(column / groupWidth(grid, shape[1])))
  const bits = formBits(grid, shape, sorted)
  return { informationBits: bits, storedBits: bits }
}

export interface GridSource extends WeightSource {
  readonly values: Values
}

/**
 * A weight that is held as grid values. Products expand it for the length of the call, and of the tape where one records.
 * Training changes nothing of it, since no gradient reaches the scales.
 */
export function gridSource(values: Values): GridSource {
  const shape = (values.kind === 'blocks' ? values.shape : values.codes.shape) as [number, number]
  return {
    values,
    shape,
    matmul: (x, bias) => scope(() => linear(x, decodeValues(values), bias)),
    dense: () => decodeValues(values),
    parameters: () => new Map(),
    size: () => sizeOfValues(values),
    resources: () => (values.kind === 'grid' ? [values.codes, values.scales, values.zeros] : [values.bytes]),
  }
}

/** @throws OptionError for options that no grid has, before any weight is read. */
export function checkGrid(grid: Grid): void {
  if (grid.kind === 'blocks') {
    blockTypeOf(grid.type)
    return
  }
  const { bits, groupSize } = grid
  if (![2, 3, 4, 8].includes(bits)) throw new OptionError(`--bits: 2, 3, 4 and 8 are possible, got ${bits}`)
  if (groupSize !== 'row' && !(Number.isInteger(groupSize) && groupSize >= 1)) {
    throw new OptionError(`--group-size: a whole number from 1 on or "row" is needed, got ${groupSize}`)
  }
}
