/**
 * The integers of GPTQ checkpoints: codes packed along the input axis, zeros along the output axis.
 *
 *   qweight [in*b/32, out]   qzeros [groups, out*b/32]   scales [groups, out]   g_idx [in]
 *   W[o,i] = scales[g_idx[i],o] * (q[i,o] - z[g_idx[i],o])
 *
 * Code i of a column stands at bit b*i of one little-endian stream of 32-bit words; for b = 3 that makes 32
 * codes in 3 words, two of which straddle. Version 1 stores z - 1 modulo 2^b, version 2 stores z.
 * AutoGPTQ/AutoGPTQ qlinear_cuda_old.py, ModelCloud/GPTQModel.
 */
import { FormatError, OptionError } from '../tensor/errors.ts'

export type GptqBits = 2 | 3 | 4 | 8
/** `checkpoint_format` of config.json: "gptq" is version 1. */
export type ZeroFormat = 'gptq' | 'gptq_v2'
type Words = Int32Array | Uint32Array

/** Codes [rows, columns] to words [rows*bits/32, columns]: the layout of qweight, rows being inputs. */
export function packDown(codes: Uint8Array, rows: number, columns: number, bits: GptqBits): Int32Array {
  checkCodes(codes, rows * columns, bits)
  const words = new Int32Array(wordCount(rows, bits) * columns)
  for (let column = 0; column < columns; column++)
    for (let row = 0; row < rows; row++)
      putBits(words, column, columns, row * bits, codes[row * columns + column]!, bits)
  return words
}

/** Words [rows*bits/32, columns] to codes [rows, columns]. */
export function unpackDown(words: Words, rows: number, columns: number, bits: GptqBits): Uint8Array {
  checkWords(words, wordCount(rows, bits) * columns)
  const codes = new Uint8Array(rows * columns)
  for (let column = 0; column < columns; column++)
    for (let row = 0; row < rows; row++)
      codes[row * columns + column] = getBits(words, column, columns, row * bits, bits)
  return codes
}

/** Codes [rows, columns] to words [rows, columns*bits/32]: the layout of qzeros, columns being outputs. */
export function packAcross(codes: Uint8Array, rows: number, columns: number, bits: GptqBits): Int32Array {
  checkCodes(codes, rows * columns, bits)
  const width = wordCount(columns, bits)
  const words = new Int32Array(rows * width)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      putBits(words, row * width, 1, column * bits, codes[row * columns + column]!, bits)
  return words
}

/** Words [rows, columns*bits/32] to codes [rows, columns]. */
export function unpackAcross(words: Words, rows: number, columns: number, bits: GptqBits): Uint8Array {
  const width = wordCount(columns, bits)
  checkWords(words, rows * width)
  const codes = new Uint8Array(rows * columns)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      codes[row * columns + column] = getBits(words, row * width, 1, column * bits, bits)
  return codes
}

/**
 * Zeros as the file stores them. A zero of 0 wraps to 2^b - 1 in version 1: kept inside its field, but not
 * every reader takes it modulo 2^b again.
 */
export function storedZeros(zeros: Uint8Array, bits: GptqBits, format: ZeroFormat): Uint8Array {
  return format === 'gptq_v2' ? zeros.slice() : zeros.map((z) => (z - 1) & (2 ** bits - 1))
}

/** The zeros that stored fields stand for. */
export function loadedZeros(stored: Uint8Array, bits: GptqBits, format: ZeroFormat): Uint8Array {
  return format === 'gptq_v2' ? stored.slice() : stored.map((z) => (z + 1) & (2 ** bits - 1))
}

/**
 * The format the zeros really have. A symmetric layer has the zero 2^(b-1) everywhere, so a file labelled
 * "gptq" whose fields all hold exactly that was written as version 2.
 */
export function zeroFormat(
  stored: Uint8Array,
  bits: GptqBits,
  symmetric: boolean,
  label: ZeroFormat,
): ZeroFormat {
  const middle = 2 ** (bits - 1)
  return symmetric && stored.length > 0 && stored.every((z) => z === middle) ? 'gptq_v2' : label
}

/** g_idx of a layer whose inputs stand in their own order; `groupSize` undefined means one group. */
export function orderedGroups(inputs: number, groupSize: number = inputs): Int32Array {
  return Int32Array.from({ length: inputs }, (_, i) => Math.floor(i / groupSize))
}

/** Whether g_idx says no more than the group size does. */
export function isOrdered(groupOf: Int32Array, groupSize: number = groupOf.length): boolean {
  return groupOf.every((group, i) => group === Math.floor(i / groupSize))
}

/** A layer as its tensors hold it, scales as numbers. */
export interface GptqTensors {
  bits: GptqBits
  inputs: number
  outputs: number
  /** @default orderedGroups: one group per row of `scales` */
  groupOf?: Int32Array
  qweight: Words
  qzeros: Words
  /** [groups, outputs] */
  scales: Float32Array
  format: ZeroFormat
}

/**
 * The weights [outputs, inputs] in f32.
 *
 * @throws FormatError if sizes disagree or g_idx names a group that is not there.
 */
export function dequantizeGptq(layer: GptqTensors): Float32Array {
  const { bits, inputs, outputs, qweight, qzeros, scales, format } = layer
  const groups = scales.length / outputs
  if (!Number.isInteger(groups) || groups < 1)
    throw new FormatError(
      `${scales.length} scales do not fill rows of ${outputs} outputs; the layer is damaged`,
      {
        code: 'PARE_E_GPTQ',
        facts: { scales: scales.length, outputs },
      },
    )
  const groupOf = layer.groupOf ?? orderedGroups(inputs, Math.ceil(inputs / groups))
  const wrong = groupOf.length === inputs ? groupOf.find((g) => g < 0 || g >= groups) : groupOf.length
  if (wrong !== undefined)
    throw new FormatError(
      `g_idx needs ${inputs} groups from 0 to ${groups - 1}, found ${groupOf.length === inputs ? wrong : `${wrong} entries`}; the layer is damaged`,
      { code: 'PARE_E_GPTQ', facts: { inputs, groups, found: wrong } },
    )
  const codes = unpackDown(qweight, inputs, outputs, bits)
  const zeros = loadedZeros(unpackAcross(qzeros, groups, outputs, bits), bits, format)
  const weights = new Float32Array(outputs * inputs)
  for (let i = 0; i < inputs; i++) {
    const group = groupOf[i]! * outputs
    for (let o = 0; o < outputs; o++)
      weights[o * inputs + i] = scales[group + o]! * (codes[i * outputs + o]! - zeros[group + o]!)
  }
  return weights
}

/** Words of one packed run; a run must fill them, since nothing says where a shorter one would end. */
function wordCount(length: number, bits: GptqBits): number {
  const perRun = bits === 3 ? 32 : 32 / bits
  if (length % perRun === 0) return (length * bits) / 32
  throw new OptionError(
    `${length} codes of ${bits} bits do not fill 32-bit words; GPTQ needs sizes divisible by ${perRun}, leave this layer out`,
    { code: 'PARE_E_GPTQ', facts: { length, bits } },
  )
}

function putBits(
  words: Int32Array,
  start: number,
  stride: number,
  at: number,
  code: number,
  bits: number,
): void {
  const [word, shift] = [at >>> 5, at & 31]
  words[start + word * stride]! |= code << shift
  if (shift + bits > 32) words[start + (word + 1) * stride]! |= code >>> (32 - shift)
}

function getBits(words: Words, start: number, stride: number, at: number, bits: number): number {
  const [word, shift] = [at >>> 5, at & 31]
  // Unsigned shifts: the words are signed in the file, the fields are not.
  let code = words[start + word * stride]! >>> shift
  if (shift + bits > 32) code |= words[start + (word + 1) * stride]! << (32 - shift)
  return code & ((1 << bits) - 1)
}

function checkCodes(codes: Uint8Array, length: number, bits: GptqBits): void {
  const largest = 2 ** bits - 1
  const wrong = codes.length === length ? codes.find((code) => code > largest) : codes.length
  if (wrong !== undefined)
    throw new OptionError(
      codes.length === length
        ? `a code of ${bits} bits is at most ${largest}, got ${wrong}; quantise to ${bits} bits first`
        : `${length} codes are needed, got ${wrong}; the shape is wrong`,
      { code: 'PARE_E_GPTQ', facts: { bits, found: wrong } },
    )
}

function checkWords(words: Words, length: number): void {
  if (words.length !== length)
    throw new FormatError(`${length} packed words are needed, found ${words.length}; the layer is damaged`, {
      code: 'PARE_E_GPTQ',
      facts: { needed: length, found: words.length },
    })
}
