/**
 * The dense part of SpQR checkpoints, 3 bits in tiles of 16 by 16: one 64-bit word for each row of a tile.
 *
 *   word      w_s (bits 0-2)  w_z (3-5)  q_c (6 + 3c .. 8 + 3c, c = 0..15)  byte of the tile (54-61)  0 (62-63)
 *   dense_weights int64 [out/16 * in/16 * 16]: word of tile row I, tile column J, row k at (I*(in/16) + J)*16 + k
 *   s = ss*(w_s - zs)   z = sz*(w_z - zz)   W = s*(q - z)      in f16 steps, which are not taken here
 *
 * The four f16 numbers of a tile make 64 bits: ss, sz, zs, zz from the lowest; byte f of them stands in the rows 2f
 * and 2f+1. Columns are in permuted order: column c meets the input x[in_perm[c]]. Outliers: `spqr_outliers.ts`.
 * Vahe1994/SpQR, inference_lib/src/spqr_quant/inference_kernels.
 */
import { FormatError, OptionError } from '../tensor/errors.ts'
import { checkCodes, checkLength, checkSizes } from './packing_checks.ts'

export const spqrCode = 'PARE_E_SPQR'
/** Rows and columns of a tile. */
export const spqrTile = 16

/** The fields of a matrix [outputs, inputs], both multiples of 16. */
export interface SpqrFields {
  /** q [outputs, inputs], 0 to 7, columns in permuted order. */
  codes: Uint8Array
  /** w_s [outputs, inputs/16], 0 to 7. */
  scaleCodes: Uint8Array
  /** w_z [outputs, inputs/16], 0 to 7. */
  zeroCodes: Uint8Array
  /** ss, sz, zs, zz as f16 bits: scale of scales, scale of zeros, zero of scales, zero of zeros. [outputs/16, inputs/16, 4] */
  secondOrder: Uint16Array
}

/** @throws OptionError if sizes are no multiples of 16 or a field does not fit */
export function packSpqr(fields: SpqrFields, outputs: number, inputs: number): BigUint64Array {
  const across = tilesAcross(outputs, inputs)
  const { codes, scaleCodes, zeroCodes, secondOrder } = fields
  checkCodes(codes, outputs * inputs, 3, spqrCode)
  checkCodes(scaleCodes, outputs * across, 3, spqrCode)
  checkCodes(zeroCodes, outputs * across, 3, spqrCode)
  checkCodes(secondOrder, (outputs / spqrTile) * across * 4, 16, spqrCode)
  const words = new BigUint64Array(outputs * across)
  const halves = new Uint32Array(words.buffer)
  for (let w = 0; w < words.length; w++) {
    const { row, tile, k } = placeOf(w, across)
    const at = row * inputs + (tile % across) * spqrTile
    const group = row * across + (tile % across)
    let [low, high] = [scaleCodes[group]! | (zeroCodes[group]! << 3), 0]
    // The code of column 8 stands at bits 30 to 32, across the halves.
    for (let c = 0; c <= 8; c++) low |= codes[at + c]! << (6 + 3 * c)
    high = codes[at + 8]! >> 2
    for (let c = 9; c < spqrTile; c++) high |= codes[at + c]! << (3 * c - 26)
    const half = secondOrder[tile * 4 + (k >> 2)]!
    high |= (k & 2 ? half >> 8 : half & 255) << 22
    halves[2 * w] = low
    halves[2 * w + 1] = high
  }
  return words
}

/**
 * Words, 64 bits each or as pairs of 32 with the low half first, to fields.
 *
 * @throws FormatError if there are more or fewer words, the two copies of a byte differ, or the highest bits are not 0.
 */
export function unpackSpqr(
  words: BigUint64Array | BigInt64Array | Uint32Array,
  outputs: number,
  inputs: number,
): SpqrFields {
  const across = tilesAcross(outputs, inputs)
  const halves =
    words instanceof Uint32Array ? words : new Uint32Array(words.buffer, words.byteOffset, 2 * words.length)
  const count = outputs * across
  checkLength('halves of dense words', halves, 2 * count, spqrCode)
  const codes = new Uint8Array(outputs * inputs)
  const [scaleCodes, zeroCodes] = [new Uint8Array(count), new Uint8Array(count)]
  const secondOrder = new Uint16Array((outputs / spqrTile) * across * 4)
  for (let w = 0; w < count; w++) {
    const { row, tile, k } = placeOf(w, across)
    const [low, high] = [halves[2 * w]!, halves[2 * w + 1]!]
    const at = row * inputs + (tile % across) * spqrTile
    const group = row * across + (tile % across)
    scaleCodes[group] = low & 7
    zeroCodes[group] = (low >>> 3) & 7
    for (let c = 0; c < 8; c++) codes[at + c] = (low >>> (6 + 3 * c)) & 7
    codes[at + 8] = (low >>> 30) | ((high & 1) << 2)
    for (let c = 9; c < spqrTile; c++) codes[at + c] = (high >>> (3 * c - 26)) & 7
    const byte = (high >>> 22) & 255
    if (high >>> 30 !== 0 || (k & 1 && byte !== ((halves[2 * w - 1]! >>> 22) & 255)))
      throw new FormatError(
        `row ${k} of tile ${tile} has ${high >>> 30 ? 'bits above its fields' : 'another byte of the tile than the row before it'}; the layer is damaged`,
        { code: spqrCode, facts: { tile, row: k } },
      )
    secondOrder[tile * 4 + (k >> 2)]! |= byte << (k & 2 ? 8 : 0)
  }
  return { codes, scaleCodes, zeroCodes, secondOrder }
}

/** The row of the matrix, the tile and its row k that a word is for. */
function placeOf(word: number, across: number) {
  const [tile, k] = [word >>> 4, word & 15]
  return { row: Math.floor(tile / across) * spqrTile + k, tile, k }
}

/** Tiles beside each other. @throws OptionError if tiles do not fill the matrix */
function tilesAcross(outputs: number, inputs: number): number {
  checkSizes({ outputs, inputs }, spqrCode)
  if (outputs % spqrTile === 0 && inputs % spqrTile === 0) return inputs / spqrTile
  throw new OptionError(
    `SpQR has tiles of 16 by 16 and needs sizes divisible by 16, got ${outputs} by ${inputs}; leave this layer out`,
    { code: spqrCode, facts: { outputs, inputs } },
  )
}
