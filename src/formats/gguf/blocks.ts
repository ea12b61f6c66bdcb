/**
 * Blocks of quantised weights, read slowly and plainly: the oracle of the native decoder.
 *
 *   x_i = d * S_k * level(code_i) - dmin * M_k        k = sub-block of i
 *
 * One table says for each type where the bits of a code, of a scale and of a min stand; packing and unpacking
 * both follow it. Layouts: ggml's ggml-common.h and ggml-quants.c.
 */

import { type CodedTypeName, isBlockType, typeOfName } from '../../nn/block_types.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { bf16ToNumber, f16ToNumber, numberToF16 } from '../half.ts'

/** One block taken apart. Types without mins have `dmin` 0 and mins 0, types without scales have scales 1. */
export interface BlockParts {
  /** One code per element, unsigned. */
  codes: Uint8Array
  /** Integer scale of each sub-block. */
  scales: number[]
  /** Integer min of each sub-block. */
  mins: number[]
  /** Exactly an f16 value, as `dmin` is. */
  d: number
  /** Q4_1 and Q5_1 store a minimum m that is added; it is kept here as -m, with mins 1. */
  dmin: number
}

/** Bits of a number in the block, low bits first: `bits` bits of byte `byte` from bit `shift` on. */
export type Piece = readonly [byte: number, shift: number, bits: number]

export interface BlockLayout {
  blockLength: number
  /** Elements that share a scale. */
  subLength: number
  /** Position of d. */
  d: number
  /** Position of dmin (of m in Q4_1 and Q5_1). */
  dmin?: number
  /** Subtracted from a code to get its level; IQ4_NL has a table instead. */
  offset: number
  /** The code is stored in two's complement (Q8_0). */
  signed?: boolean
  code(i: number): Piece[]
  scale?: (k: number) => Piece[]
  /** Subtracted from the stored scale; of Q6_K in two's complement. */
  scaleOffset?: number
  scaleSigned?: boolean
  min?: (k: number) => Piece[]
}

/** Levels of IQ4_NL. */
export const nonLinearLevels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]

/** Nibbles from byte `start` on: the first 16 elements in the low halves, the others in the high ones. */
const nibble32 =
  (start: number) =>
  (i: number): Piece => [start + (i % 16), i < 16 ? 0 : 4, 4]
/** Nibbles in runs of 64 elements: 32 in the low halves of 32 bytes, 32 in the high ones. */
const nibble64 =
  (start: number) =>
  (i: number): Piece => [start + 32 * (i >> 6) + (i % 32), i % 64 < 32 ? 0 : 4, 4]
/** Two bits in runs of 128 elements over 32 bytes. */
const pair128 =
  (start: number) =>
  (i: number): Piece => [start + 32 * (i >> 7) + (i % 32), 2 * ((i % 128) >> 5), 2]
/** The 6-bit scales and mins of Q4_K and Q5_K, which share 12 bytes from byte 4 on. */
const scale6 = (k: number): Piece[] =>
  k < 4
    ? [[4 + k, 0, 6]]
    : [
        [8 + k, 0, 4],
        [k, 6, 2],
      ]
const min6 = (k: number): Piece[] =>
  k < 4
    ? [[8 + k, 0, 6]]
    : [
        [8 + k, 4, 4],
        [4 + k, 6, 2],
      ]

const small = { blockLength: 32, subLength: 32, d: 0 }
const layouts: Readonly<Record<CodedTypeName, BlockLayout>> = {
  Q8_0: { ...small, offset: 128, signed: true, code: (i) => [[2 + i, 0, 8]] },
  Q4_0: { ...small, offset: 8, code: (i) => [nibble32(2)(i)] },
  IQ4_NL: { ...small, offset: 0, code: (i) => [nibble32(2)(i)] },
  Q4_1: { ...small, dmin: 2, offset: 0, code: (i) => [nibble32(4)(i)] },
  Q5_0: { ...small, offset: 16, code: (i) => [nibble32(6)(i), [2 + (i >> 3), i & 7, 1]] },
  Q5_1: { ...small, dmin: 2, offset: 0, code: (i) => [nibble32(8)(i), [4 + (i >> 3), i & 7, 1]] },
  Q2_K: {
    blockLength: 256,
    subLength: 16,
    d: 80,
    dmin: 82,
    offset: 0,
    code: (i) => [pair128(16)(i)],
    scale: (k) => [[k, 0, 4]],
    min: (k) => [[k, 4, 4]],
  },
  Q3_K: {
    blockLength: 256,
    subLength: 16,
    d: 108,
    offset: 4,
    code: (i) => [pair128(32)(i), [i % 32, i >> 5, 1]],
    scale: (k) => [
      [96 + (k % 8), k < 8 ? 0 : 4, 4],
      [104 + (k % 4), 2 * (k >> 2), 2],
    ],
    scaleOffset: 32,
  },
  Q4_K: {
    blockLength: 256,
    subLength: 32,
    d: 0,
    dmin: 2,
    offset: 0,
    code: (i) => [nibble64(16)(i)],
    scale: scale6,
    min: min6,
  },
  Q5_K: {
    blockLength: 256,
    subLength: 32,
    d: 0,
    dmin: 2,
    offset: 0,
    code: (i) => [nibble64(48)(i), [16 + (i % 32), i >> 5, 1]],
    scale: scale6,
    min: min6,
  },
  Q6_K: {
    blockLength: 256,
    subLength: 16,
    d: 208,
    offset: 32,
    code: (i) => [
      // In a run of 128: 64 elements in the low halves of 64 bytes, 64 in the high ones.
      [64 * (i >> 7) + (i % 64), i % 128 < 64 ? 0 : 4, 4],
      pair128(128)(i),
    ],
    scale: (k) => [[192 + k, 0, 8]],
    scaleOffset: 128,
    scaleSigned: true,
  },
}

/** Where the fields of a block stand. */
export const layoutOf = (type: CodedTypeName): BlockLayout => layouts[type]

/** What a code stands for, before scales. */
export function levelOf(type: CodedTypeName, code: number): number {
  return type === 'IQ4_NL' ? nonLinearLevels[code]! : code - layouts[type].offset
}

/** Takes one block of `bytes` apart. */
export function unpackBlock(type: CodedTypeName, bytes: Uint8Array): BlockParts {
  const {
    blockLength,
    subLength,
    d,
    dmin,
    signed,
    code,
    scale,
    scaleOffset = 0,
    scaleSigned,
    min,
  } = layouts[type]
  const subBlocks = blockLength / subLength
  const read = (pieces: Piece[], flip = 0) => {
    let [value, place] = [0, 0]
    for (const [byte, shift, bits] of pieces) {
      value |= ((bytes[byte]! >> shift) & ((1 << bits) - 1)) << place
      place += bits
    }
    return value ^ flip
  }
  const half = (at: number) => f16ToNumber(bytes[at]! | (bytes[at + 1]! << 8))
  const additive = dmin !== undefined && !min
  return {
    // In two's complement the top bit is turned over, so that codes are unsigned and in order.
    codes: Uint8Array.from({ length: blockLength }, (_, i) => read(code(i), signed ? 128 : 0)),
    scales: Array.from({ length: subBlocks }, (_, k) =>
      scale ? read(scale(k), scaleSigned ? 128 : 0) - scaleOffset : 1,
    ),
    mins: Array.from({ length: subBlocks }, (_, k) => (min ? read(min(k)) : additive ? 1 : 0)),
    d: half(d),
    dmin: dmin === undefined ? 0 : additive ? -half(dmin) : half(dmin),
  }
}

/** Puts one block together; codes, scales and mins must fit their fields. */
export function packBlock(type: CodedTypeName, parts: BlockParts): Uint8Array {
  const { d, dmin, signed, code, scale, scaleOffset = 0, scaleSigned, min } = layouts[type]
  const bytes = new Uint8Array(typeOfName(type)!.blockBytes)
  const write = (pieces: Piece[], value: number) => {
    let rest = value
    for (const [byte, shift, bits] of pieces) {
      bytes[byte]! |= (rest & ((1 << bits) - 1)) << shift
      rest >>= bits
    }
  }
  const half = (at: number, value: number) => {
    const stored = numberToF16(value)
    bytes[at] = stored & 255
    bytes[at + 1] = stored >> 8
  }
  for (const [i, value] of parts.codes.entries()) write(code(i), signed ? value ^ 128 : value)
  if (scale)
    for (const [k, value] of parts.scales.entries())
      write(scale(k), scaleSigned ? value & 255 : value + scaleOffset)
  if (min) for (const [k, value] of parts.mins.entries()) write(min(k), value)
  half(d, parts.d)
  if (dmin !== undefined) half(dmin, min ? parts.dmin : -parts.dmin)
  return bytes
}

/**
 * Values of the blocks in `bytes`, in f32 arithmetic, in the order of operations of the formula above.
 *
 * @throws OptionError if Pare cannot decode the type (its name is given), or the bytes are no whole blocks.
 * @example decodeBlocks('Q8_0', archive.read('blk.0.attn_q.weight'))
 */
export function decodeBlocks(type: string, bytes: Uint8Array): Float32Array {
  if (!isBlockType(type))
    throw new OptionError(
      `tensors of type ${printable(type)} are not decoded by Pare; use a file of F16, Q8_0 or a K type instead`,
      { code: 'PARE_E_GGUF_TYPE', facts: { type } },
    )
  const { blockLength, blockBytes } = typeOfName(type)!
  if (bytes.length % blockBytes !== 0)
    throw new OptionError(
      `${type}: ${bytes.length} bytes are no whole blocks of ${blockBytes}; give whole rows`,
      {
        code: 'PARE_E_BLOCKS',
        facts: { type, bytes: bytes.length, blockBytes },
      },
    )
  const count = bytes.length / blockBytes
  const values = new Float32Array(count * blockLength)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let block = 0; block < count; block++) {
    const start = block * blockBytes
    if (type === 'F32') values[block] = view.getFloat32(start, true)
    else if (type === 'F16') values[block] = f16ToNumber(view.getUint16(start, true))
    else if (type === 'BF16') values[block] = bf16ToNumber(view.getUint16(start, true))
    else
      values.set(
        valuesOf(type, unpackBlock(type, bytes.subarray(start, start + blockBytes))),
        block * blockLength,
      )
  }
  return values
}

/** The values of one block, each operation rounded to f32. */
export function valuesOf(type: CodedTypeName, { codes, scales, mins, d, dmin }: BlockParts): Float32Array {
  const { subLength } = layouts[type]
  return Float32Array.from(codes, (code, i) => {
    const k = Math.floor(i / subLength)
    const scale = Math.fround(d * scales[k]!)
    const min = Math.fround(dmin * mins[k]!)
    return Math.fround(Math.fround(scale * levelOf(type, code)) - min)
  })
}
