/**
 * The weights of com.microsoft MatMulNBits: codes in blocks along the inputs, a scale (and a zero point) for each block.
 *
 *   Y = A W^T     W[n,k] = (q[n,k] - z[n,j]) * s[n,j],  j = floor(k / block)        W is [N, K] = [out, in]
 *   B [N, ceil(K/block), block*bits/8]     scales [N, ceil(K/block)]     zero points [N, ceil(ceil(K/block)*bits/8)]
 *
 * Code i of a block stands at bit bits*i of its bytes, lowest bit first; zero points so along the blocks of a row, whose
 * first one begins a byte. Without zero points z is 2^(bits-1). K is padded with codes that stand for 0.
 * onnxruntime docs/ContribOperators.md, com.microsoft.MatMulNBits
 */
import { NumericalError, OptionError } from '../../tensor/errors.ts'

export const matMulBits = [2, 4, 8] as const
export type MatMulBits = (typeof matMulBits)[number]

export interface MatMulNBitsLayout {
  readonly bits: MatMulBits
  /** Inputs that share a scale: a power of two from 16 to 256. */
  readonly blockSize: number
  /** N, outputs. */
  readonly rows: number
  /** K, inputs. */
  readonly columns: number
}

export interface MatMulNBitsWeights {
  /** B: [rows, blocks, blockSize * bits / 8]. */
  readonly codes: Uint8Array
  /** [rows, blocks]. */
  readonly scales: Float32Array
  /** Packed, [rows, ceil(blocks * bits / 8)]; undefined where every zero point is 2^(bits-1). */
  readonly zeroPoints?: Uint8Array
}

export interface FitOptions {
  /** One scale, no zero point: the largest magnitude becomes the code 0. @default true */
  symmetric?: boolean
  /** What scales are rounded to before codes are chosen. @default Math.fround */
  roundScale?: (scale: number) => number
}

/** Sizes that follow from the layout. @throws OptionError where it is none. */
export function sizesOf({ bits, blockSize, rows, columns }: MatMulNBitsLayout) {
  if (!matMulBits.includes(bits))
    throw new OptionError(`MatMulNBits has 2, 4 or 8 bits, got ${bits}; 4 runs everywhere`, {
      facts: { bits },
    })
  if (![16, 32, 64, 128, 256].includes(blockSize))
    throw new OptionError(`MatMulNBits has blocks of 16, 32, 64, 128 or 256, got ${blockSize}; 32 is usual`, {
      facts: { blockSize },
    })
  if (!(Number.isSafeInteger(rows) && Number.isSafeInteger(columns) && rows > 0 && columns > 0))
    throw new OptionError(`a matrix needs rows and columns, got [${rows}, ${columns}]; leave it out`, {
      facts: { rows, columns },
    })
  const blocks = Math.ceil(columns / blockSize)
  return { blocks, blockBytes: (blockSize * bits) / 8, zeroBytes: Math.ceil((blocks * bits) / 8) }
}

/** Weights that are filled block by block, so that a matrix need not be in memory as a whole. */
export interface MatMulNBitsPacker {
  readonly weights: MatMulNBitsWeights
  /**
   * Block `block` of rows `firstRow` and on: `values` holds `width` numbers of each, one row after the other. The last
   * block may be narrower than the block size.
   *
   * @throws NumericalError for what is not finite.
   */
  fill(firstRow: number, block: number, values: Float32Array, width: number): void
}

/**
 * Fits and packs. Symmetric: s = M / -2^(bits-1) with M the element of largest magnitude, of equals the first.
 * Otherwise s = (max - min) / (2^bits - 1) with 0 in the range, and z = -min / s, halves down. Codes round halves up.
 */
export function matMulNBitsPacker(
  layout: MatMulNBitsLayout,
  { symmetric = true, roundScale = Math.fround }: FitOptions = {},
): MatMulNBitsPacker {
  const { bits, blockSize, rows } = layout
  const { blocks, blockBytes, zeroBytes } = sizesOf(layout)
  const codes = new Uint8Array(rows * blocks * blockBytes)
  const scales = new Float32Array(rows * blocks)
  const zeroPoints = symmetric ? undefined : new Uint8Array(rows * zeroBytes)
  const [middle, largest, perByte] = [2 ** (bits - 1), 2 ** bits - 1, 8 / bits]

  const fill = (firstRow: number, block: number, values: Float32Array, width: number): void => {
    for (let at = 0, row = firstRow; at < values.length; at += width, row++) {
      let [low, high] = [0, 0]
      for (let i = at; i < at + width; i++) {
        const value = values[i]!
        if (value < low) low = value
        else if (value > high) high = value
        else if (Number.isNaN(value)) throw notFinite(row, block)
      }
      if (!Number.isFinite(high - low)) throw notFinite(row, block)
      let extreme = high
      if (-low > high || (-low === high && firstOf(values, at, width, low, high) === low)) extreme = low
      const scale = roundScale(symmetric ? extreme / -middle : (high - low) / largest)
      const inverse = scale === 0 ? 0 : 1 / scale
      const zero = symmetric ? middle : Math.min(largest, Math.max(0, Math.ceil(-low * inverse - 0.5)))
      scales[row * blocks + block] = scale
      if (zeroPoints)
        zeroPoints[row * zeroBytes + Math.floor(block / perByte)]! |= zero << (bits * (block % perByte))
      const start = (row * blocks + block) * blockBytes
      for (let byte = 0, i = 0; i < blockSize; byte++) {
        let packed = 0
        for (let shift = 0; shift < 8; shift += bits, i++) {
          const level = i < width ? Math.floor(values[at + i]! * inverse + zero + 0.5) : zero
          packed |= Math.max(0, Math.min(level, largest)) << shift
        }
        codes[start + byte] = packed
      }
    }
  }
  return { weights: zeroPoints ? { codes, scales, zeroPoints } : { codes, scales }, fill }
}

const notFinite = (row: number, block: number) =>
  new NumericalError(
    `row ${row}, block ${block}: weights must be finite to be quantised; leave this matrix out`,
    {
      facts: { row, block },
    },
  )

/** Which of two values comes first. */
function firstOf(values: Float32Array, at: number, width: number, a: number, b: number): number {
  for (let i = at; i < at + width; i++) if (values[i] === a || values[i] === b) return values[i]!
  return b
}

/**
 * Fits and packs a whole matrix [rows, columns].
 *
 * @throws OptionError for an impossible layout, NumericalError for weights that are not finite.
 * @example quantizeMatMulNBits(w, { bits: 4, blockSize: 32, rows: 576, columns: 1536 })
 */
export function quantizeMatMulNBits(
  matrix: Float32Array,
  layout: MatMulNBitsLayout,
  options: FitOptions = {},
): MatMulNBitsWeights {
  const { blockSize, rows, columns } = layout
  const { blocks } = sizesOf(layout)
  checkLength('weights', matrix.length, rows * columns)
  const packer = matMulNBitsPacker(layout, options)
  for (let row = 0; row < rows; row++)
    for (let block = 0; block < blocks; block++) {
      const start = row * columns + block * blockSize
      const width = Math.min(blockSize, columns - block * blockSize)
      packer.fill(row, block, matrix.subarray(start, start + width), width)
    }
  return packer.weights
}

/** Codes [rows, blocks * blockSize], padding with them, to the bytes of B. @throws OptionError for a code that has no room. */
export function packCodes(codes: Uint8Array, layout: MatMulNBitsLayout): Uint8Array {
  const { blocks } = sizesOf(layout)
  checkLength('codes', codes.length, layout.rows * blocks * layout.blockSize)
  return packRun(codes, layout.bits)
}

/** The bytes of B to codes [rows, blocks * blockSize]. */
export function unpackCodes(bytes: Uint8Array, layout: MatMulNBitsLayout): Uint8Array {
  const { blocks, blockBytes } = sizesOf(layout)
  checkLength('bytes of codes', bytes.length, layout.rows * blocks * blockBytes)
  return unpackRun(bytes, layout.bits)
}

/** Zero points [rows, blocks] to their packed form, whose rows begin a byte. */
export function packZeroPoints(zeroPoints: Uint8Array, layout: MatMulNBitsLayout): Uint8Array {
  const { blocks, zeroBytes } = sizesOf(layout)
  checkLength('zero points', zeroPoints.length, layout.rows * blocks)
  const padded = new Uint8Array(layout.rows * zeroBytes * (8 / layout.bits))
  for (let row = 0; row < layout.rows; row++)
    padded.set(zeroPoints.subarray(row * blocks, (row + 1) * blocks), row * zeroBytes * (8 / layout.bits))
  return packRun(padded, layout.bits)
}

/** Packed zero points to [rows, blocks]. */
export function unpackZeroPoints(bytes: Uint8Array, layout: MatMulNBitsLayout): Uint8Array {
  const { blocks, zeroBytes } = sizesOf(layout)
  checkLength('bytes of zero points', bytes.length, layout.rows * zeroBytes)
  const all = unpackRun(bytes, layout.bits)
  const width = zeroBytes * (8 / layout.bits)
  return Uint8Array.from(
    { length: layout.rows * blocks },
    (_, i) => all[Math.floor(i / blocks) * width + (i % blocks)]!,
  )
}

/** The weights [rows, columns] that the runtime computes with. */
export function dequantizeMatMulNBits(weights: MatMulNBitsWeights, layout: MatMulNBitsLayout): Float32Array {
  const { bits, blockSize, rows, columns } = layout
  const { blocks } = sizesOf(layout)
  checkLength('scales', weights.scales.length, rows * blocks)
  const codes = unpackCodes(weights.codes, layout)
  const zeros = weights.zeroPoints && unpackZeroPoints(weights.zeroPoints, layout)
  const matrix = new Float32Array(rows * columns)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const group = row * blocks + Math.floor(column / blockSize)
      const zero = zeros ? zeros[group]! : 2 ** (bits - 1)
      matrix[row * columns + column] =
        (codes[row * blocks * blockSize + column]! - zero) * weights.scales[group]!
    }
  return matrix
}

function packRun(codes: Uint8Array, bits: MatMulBits): Uint8Array {
  const largest = 2 ** bits - 1
  const bytes = new Uint8Array((codes.length * bits) / 8)
  for (let i = 0, at = 0; at < bytes.length; at++) {
    let packed = 0
    for (let shift = 0; shift < 8; shift += bits, i++) {
      const code = codes[i]!
      if (code > largest)
        throw new OptionError(`a code of ${bits} bits is at most ${largest}, got ${code}; quantise first`, {
          facts: { bits, code },
        })
      packed |= code << shift
    }
    bytes[at] = packed
  }
  return bytes
}

function unpackRun(bytes: Uint8Array, bits: MatMulBits): Uint8Array {
  const largest = 2 ** bits - 1
  const codes = new Uint8Array((bytes.length * 8) / bits)
  for (let i = 0, at = 0; at < bytes.length; at++) {
    const packed = bytes[at]!
    for (let shift = 0; shift < 8; shift += bits, i++) codes[i] = (packed >> shift) & largest
  }
  return codes
}

function checkLength(what: string, found: number, needed: number): void {
  if (found !== needed)
    throw new OptionError(
      `MatMulNBits needs ${needed} ${what} for this layout, got ${found}; check the shape`,
      {
        facts: { needed, found },
      },
    )
}
