/**
 * Codes, scales and mins of ggml's K types in arrays of their own. What a sub-block's scale and min are is the product
 * of two stored numbers, rounded to f32 as a reader rounds it.
 *
 *   Q2_K, Q4_K, Q5_K   scale * code - min        Q3_K, Q6_K   scale * (code - 2^(bits - 1))
 */
import { OptionError } from '../../tensor/errors.ts'
import { f16ToNumber } from '../half.ts'
import { layoutOf, type Piece } from './blocks.ts'

const SUPER_BLOCK = 256

/** Bits of a code, elements of a sub-block, and bytes of a block. */
const superTypes = {
  Q2_K: { bits: 2, width: 16, bytes: 84 },
  Q3_K: { bits: 3, width: 16, bytes: 110 },
  Q4_K: { bits: 4, width: 32, bytes: 144 },
  Q5_K: { bits: 5, width: 32, bytes: 176 },
  Q6_K: { bits: 6, width: 16, bytes: 210 },
} as const
export type SuperType = keyof typeof superTypes

export const isSuperType = (name: string): name is SuperType => Object.hasOwn(superTypes, name)

export interface SuperBlockCodes {
  bits: number
  /** Elements that share a scale. */
  width: number
  /** One an element, unsigned. */
  codes: Uint8Array
  /** One a sub-block. */
  scales: Float32Array
  /** One a sub-block, subtracted; of types that have them. */
  mins?: Float32Array
}

/**
 * Takes whole blocks apart.
 *
 * @throws OptionError where the bytes are no whole blocks.
 * @example superBlockCodes('Q4_K', archive.read('blk.0.attn_q.weight'))
 */
export function superBlockCodes(type: SuperType, bytes: Uint8Array): SuperBlockCodes {
  const { bits, width, bytes: size } = superTypes[type]
  if (bytes.length % size !== 0)
    throw new OptionError(`${type}: ${bytes.length} bytes are no whole blocks of ${size}; give whole rows`, {
      code: 'PARE_E_BLOCKS',
      facts: { type, bytes: bytes.length, blockBytes: size },
    })
  const layout = layoutOf(type)
  const count = bytes.length / size
  const groups = SUPER_BLOCK / width
  const readCode = fields(Array.from({ length: SUPER_BLOCK }, (_, i) => layout.code(i)))
  const readScale = fields(Array.from({ length: groups }, (_, k) => layout.scale!(k)))
  const { min, scaleOffset = 0, scaleSigned = false } = layout
  const readMin = min && fields(Array.from({ length: groups }, (_, k) => min(k)))
  const codes = new Uint8Array(count * SUPER_BLOCK)
  const scales = new Float32Array(count * groups)
  const mins = readMin && new Float32Array(count * groups)
  const half = (at: number) => f16ToNumber(bytes[at]! | (bytes[at + 1]! << 8))
  for (let block = 0; block < count; block++) {
    const at = block * size
    for (let i = 0; i < SUPER_BLOCK; i++) codes[block * SUPER_BLOCK + i] = readCode(bytes, at, i)
    const d = half(at + layout.d)
    const dmin = readMin ? half(at + layout.dmin!) : 0
    for (let k = 0; k < groups; k++) {
      // In two's complement the top bit is turned over, as in codes.
      const stored = readScale(bytes, at, k) ^ (scaleSigned ? 128 : 0)
      scales[block * groups + k] = d * (stored - scaleOffset)
      if (mins) mins[block * groups + k] = dmin * readMin!(bytes, at, k)
    }
  }
  return { bits, width, codes, scales, ...(mins && { mins }) }
}

/** A reader of fields of one or two pieces each. */
function fields(pieces: readonly Piece[][]): (bytes: Uint8Array, at: number, i: number) => number {
  const column = (place: 0 | 1, part: 0 | 1 | 2) => Uint16Array.from(pieces, (all) => all[place]?.[part] ?? 0)
  const mask = (place: 0 | 1) => Uint16Array.from(pieces, (all) => 2 ** (all[place]?.[2] ?? 0) - 1)
  const [lowByte, lowShift, lowMask, lowBits] = [column(0, 0), column(0, 1), mask(0), column(0, 2)]
  const [highByte, highShift, highMask] = [column(1, 0), column(1, 1), mask(1)]
  return (bytes, at, i) =>
    ((bytes[at + lowByte[i]!]! >> lowShift[i]!) & lowMask[i]!) |
    (((bytes[at + highByte[i]!]! >> highShift[i]!) & highMask[i]!) << lowBits[i]!)
}
