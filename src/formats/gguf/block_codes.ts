/**
 * Codes and scales of ggml's types of 32 evenly spaced elements, in arrays of their own, and back: what other formats
 * hold too. The bits of the fields are kept as they are.
 *
 *   Q4_0, Q5_0, Q8_0   d * (code - 2^(bits - 1))        Q4_1, Q5_1   d * code + m
 */
import { OptionError } from '../../tensor/errors.ts'

/** Elements of a block. */
export const EVEN_BLOCK = 32

/** Where the fields stand: bytes of a block, of m, of the fifth bits, and of the codes. */
interface Layout {
  readonly bits: 4 | 5 | 8
  readonly bytes: number
  readonly m?: number
  readonly high?: number
  readonly codes: number
}

export const evenTypes = {
  Q4_0: { bits: 4, bytes: 18, codes: 2 },
  Q4_1: { bits: 4, bytes: 20, m: 2, codes: 4 },
  Q5_0: { bits: 5, bytes: 22, high: 2, codes: 6 },
  Q5_1: { bits: 5, bytes: 24, m: 2, high: 4, codes: 8 },
  Q8_0: { bits: 8, bytes: 34, codes: 2 },
} as const satisfies Record<string, Layout>
export type EvenType = keyof typeof evenTypes

export const isEvenType = (name: string): name is EvenType => Object.hasOwn(evenTypes, name)

/** Fields of blocks; codes are unsigned, halves are the 16 bits of the file. */
export interface BlockCodes {
  /** One an element. */
  codes: Uint8Array
  /** One a block, as the bits of an f16. */
  scales: Uint16Array
  /** One a block, as the bits of an f16; of types with an offset. */
  offsets?: Uint16Array
}

/**
 * Takes whole blocks apart.
 *
 * @throws OptionError where the bytes are no whole blocks.
 * @example blockCodes('Q4_1', archive.read('blk.0.attn_q.weight'))
 */
export function blockCodes(type: EvenType, bytes: Uint8Array): BlockCodes {
  const layout: Layout = evenTypes[type]
  const blocks = wholeBlocks(type, bytes.length)
  const codes = new Uint8Array(blocks * EVEN_BLOCK)
  const scales = new Uint16Array(blocks)
  const offsets = layout.m === undefined ? undefined : new Uint16Array(blocks)
  for (let block = 0; block < blocks; block++) {
    const [at, first] = [block * layout.bytes, block * EVEN_BLOCK]
    scales[block] = half(bytes, at)
    if (offsets) offsets[block] = half(bytes, at + layout.m!)
    if (layout.bits === 8) {
      // Two's complement: the top bit turned over makes codes unsigned and in order.
      for (let i = 0; i < EVEN_BLOCK; i++) codes[first + i] = bytes[at + layout.codes + i]! ^ 128
      continue
    }
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + layout.codes + i]!
      codes[first + i] = pair & 15
      codes[first + 16 + i] = pair >> 4
    }
    if (layout.high === undefined) continue
    for (let i = 0; i < EVEN_BLOCK; i++)
      codes[first + i]! |= ((bytes[at + layout.high + (i >> 3)]! >> (i & 7)) & 1) << 4
  }
  return { codes, scales, ...(offsets && { offsets }) }
}

/**
 * The inverse of `blockCodes`.
 *
 * @throws OptionError where counts disagree or a code does not fit its bits.
 */
export function blocksOfCodes(type: EvenType, { codes, scales, offsets }: BlockCodes): Uint8Array {
  const layout: Layout = evenTypes[type]
  const blocks = scales.length
  const wrong =
    codes.length !== blocks * EVEN_BLOCK || offsets?.length !== (layout.m === undefined ? undefined : blocks)
  if (wrong || codes.some((code) => code >> layout.bits !== 0))
    throw new OptionError(
      `${type}: ${EVEN_BLOCK} codes of ${layout.bits} bits a scale are needed${layout.m === undefined ? '' : ' and an offset each'}, got ${codes.length} for ${blocks}; quantise to this type first`,
      { code: 'PARE_E_BLOCKS', facts: { type, codes: codes.length, scales: blocks } },
    )
  const bytes = new Uint8Array(blocks * layout.bytes)
  for (let block = 0; block < blocks; block++) {
    const [at, first] = [block * layout.bytes, block * EVEN_BLOCK]
    putHalf(bytes, at, scales[block]!)
    if (offsets) putHalf(bytes, at + layout.m!, offsets[block]!)
    if (layout.bits === 8) {
      for (let i = 0; i < EVEN_BLOCK; i++) bytes[at + layout.codes + i] = codes[first + i]! ^ 128
      continue
    }
    for (let i = 0; i < 16; i++)
      bytes[at + layout.codes + i] = (codes[first + i]! & 15) | ((codes[first + 16 + i]! & 15) << 4)
    if (layout.high === undefined) continue
    for (let i = 0; i < EVEN_BLOCK; i++)
      bytes[at + layout.high + (i >> 3)]! |= (codes[first + i]! >> 4) << (i & 7)
  }
  return bytes
}

function wholeBlocks(type: EvenType, length: number): number {
  const { bytes } = evenTypes[type]
  if (length % bytes === 0) return length / bytes
  throw new OptionError(`${type}: ${length} bytes are no whole blocks of ${bytes}; give whole rows`, {
    code: 'PARE_E_BLOCKS',
    facts: { type, bytes: length, blockBytes: bytes },
  })
}

const half = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8)

function putHalf(bytes: Uint8Array, at: number, bits: number): void {
  bytes[at] = bits & 255
  bytes[at + 1] = bits >> 8
}
