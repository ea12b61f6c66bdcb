/**
 * The tensor types of ggml: numbers in the file, sizes of their blocks, and what llama.cpp takes instead
 * where a type does not fit. Every number that was ever given out is named, so that a message can name it.
 */

import { OptionError, printable } from '../tensor/errors.ts'

export interface GgmlType {
  readonly id: number
  readonly name: string
  /** Elements of one block; a row holds whole blocks. */
  readonly blockLength: number
  /** Bytes of one block. */
  readonly blockBytes: number
}

/** Numbers as they are. */
export const floatTypeNames = ['F32', 'F16', 'BF16'] as const
/** Codes in blocks, with their scales. */
export const codedTypeNames = [
  'Q8_0',
  'Q4_0',
  'Q4_1',
  'Q5_0',
  'Q5_1',
  'IQ4_NL',
  'Q2_K',
  'Q3_K',
  'Q4_K',
  'Q5_K',
  'Q6_K',
] as const
export type CodedTypeName = (typeof codedTypeNames)[number]
/** The types whose values Pare computes with. */
export const blockTypeNames = [...floatTypeNames, ...codedTypeNames] as const
export type BlockTypeName = (typeof blockTypeNames)[number]

const table: readonly (readonly [id: number, name: string, blockLength: number, blockBytes: number])[] = [
  [0, 'F32', 1, 4],
  [1, 'F16', 1, 2],
  [2, 'Q4_0', 32, 18],
  [3, 'Q4_1', 32, 20],
  [6, 'Q5_0', 32, 22],
  [7, 'Q5_1', 32, 24],
  [8, 'Q8_0', 32, 34],
  [9, 'Q8_1', 32, 36],
  [10, 'Q2_K', 256, 84],
  [11, 'Q3_K', 256, 110],
  [12, 'Q4_K', 256, 144],
  [13, 'Q5_K', 256, 176],
  [14, 'Q6_K', 256, 210],
  [15, 'Q8_K', 256, 292],
  [16, 'IQ2_XXS', 256, 66],
  [17, 'IQ2_XS', 256, 74],
  [18, 'IQ3_XXS', 256, 98],
  [19, 'IQ1_S', 256, 50],
  [20, 'IQ4_NL', 32, 18],
  [21, 'IQ3_S', 256, 110],
  [22, 'IQ2_S', 256, 82],
  [23, 'IQ4_XS', 256, 136],
  [24, 'I8', 1, 1],
  [25, 'I16', 1, 2],
  [26, 'I32', 1, 4],
  [27, 'I64', 1, 8],
  [28, 'F64', 1, 8],
  [29, 'IQ1_M', 256, 56],
  [30, 'BF16', 1, 2],
  [34, 'TQ1_0', 256, 54],
  [35, 'TQ2_0', 256, 66],
  [39, 'MXFP4', 32, 17],
  [40, 'NVFP4', 64, 36],
  [41, 'Q1_0', 128, 18],
  [42, 'Q2_0', 64, 18],
]

/** Numbers whose types were withdrawn; no program of today reads them. */
const withdrawn: Readonly<Record<number, string>> = {
  4: 'Q4_2',
  5: 'Q4_3',
  31: 'Q4_0_4_4',
  32: 'Q4_0_4_8',
  33: 'Q4_0_8_8',
  36: 'IQ4_NL_4_4',
  37: 'IQ4_NL_4_8',
  38: 'IQ4_NL_8_8',
}

const types = table.map(([id, name, blockLength, blockBytes]) => ({ id, name, blockLength, blockBytes }))
const byId = new Map<number, GgmlType>(types.map((type) => [type.id, type]))
const byName = new Map<string, GgmlType>(types.map((type) => [type.name, type]))

/** The type of a number, undefined if its blocks have no known size. */
export const typeOfId = (id: number): GgmlType | undefined => byId.get(id)
/** The type of a name such as `Q4_K`. */
export const typeOfName = (name: string): GgmlType | undefined => byName.get(name)
/** A name for any number: withdrawn types keep theirs, the rest become `type 99`. */
export const nameOfId = (id: number): string => byId.get(id)?.name ?? withdrawn[id] ?? `type ${id}`

/** Whether Pare can decode the type (and not only carry its bytes). */
export function isBlockType(name: string): name is BlockTypeName {
  return (blockTypeNames as readonly string[]).includes(name)
}

/** Whether the type stores codes, and not numbers as they are. */
export function isCodedType(name: string): name is CodedTypeName {
  return (codedTypeNames as readonly string[]).includes(name)
}

/** Stored bits of one weight, scales included. @example bitsPerWeight('Q4_K') // 4.5 */
export function bitsPerWeight(name: BlockTypeName): number {
  const { blockLength, blockBytes } = byName.get(name)!
  return (8 * blockBytes) / blockLength
}

/** What llama.cpp stores where 256 does not divide the row. */
const narrower: Partial<Record<BlockTypeName, BlockTypeName>> = {
  Q2_K: 'IQ4_NL',
  Q3_K: 'IQ4_NL',
  Q4_K: 'Q5_0',
  Q5_K: 'Q5_1',
  Q6_K: 'Q8_0',
}

/**
 * The type that llama.cpp stores for a row of `columns` when `wanted` is asked for: the type itself, else its
 * stand-in with blocks of 32, else F16.
 *
 * @example typeForRow('Q4_K', 576) // 'Q5_0'
 */
export function typeForRow(wanted: BlockTypeName, columns: number): BlockTypeName {
  const fits = (name: BlockTypeName) => columns % byName.get(name)!.blockLength === 0
  if (fits(wanted)) return wanted
  const other = narrower[wanted]
  return other !== undefined && fits(other) ? other : 'F16'
}

/** `general.file_type`: the mix a file was made with. Informative only; each tensor has its own type. */
export const fileTypes: Readonly<Record<string, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q8_0: 7,
  Q5_0: 8,
  Q5_1: 9,
  Q2_K: 10,
  Q3_K_S: 11,
  Q3_K_M: 12,
  Q3_K_L: 13,
  Q4_K_S: 14,
  Q4_K_M: 15,
  Q5_K_S: 16,
  Q5_K_M: 17,
  Q6_K: 18,
  IQ2_XXS: 19,
  IQ2_XS: 20,
  Q2_K_S: 21,
  IQ3_XS: 22,
  IQ3_XXS: 23,
  IQ1_S: 24,
  IQ4_NL: 25,
  IQ3_S: 26,
  IQ3_M: 27,
  IQ2_S: 28,
  IQ2_M: 29,
  IQ4_XS: 30,
  IQ1_M: 31,
  BF16: 32,
  TQ1_0: 36,
  TQ2_0: 37,
  MXFP4_MOE: 38,
  NVFP4: 39,
  Q1_0: 40,
}

/** @throws OptionError for a name that is no block type, with the names there are. */
export function blockTypeOf(name: BlockTypeName): GgmlType {
  const type = isBlockType(name) ? byName.get(name) : undefined
  if (type) return type
  throw new OptionError(
    `--scheme: ${printable(String(name))} is no block type; possible are ${blockTypeNames.join(', ')}`,
  )
}

/** Bytes of a row of `columns` weights. */
export function rowBytes(name: BlockTypeName, columns: number): number {
  const { blockLength, blockBytes } = blockTypeOf(name)
  return (columns / blockLength) * blockBytes
}
