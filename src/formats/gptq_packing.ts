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
import { packColumns, packRows, rowWords, unpackColumns, unpackRows } from './bit_stream.ts'
import { checkCodes, checkLength } from './packing_checks.ts'

const code = 'PARE_E_GPTQ'

export type GptqBits = 2 | 3 | 4 | 8
/** `checkpoint_format` of config.json: "gptq" is version 1. */
export type ZeroFormat = 'gptq' | 'gptq_v2'
type Words = Int32Array | Uint32Array

/** Codes [rows, columns] to words [rows*bits/32, columns]: the layout of qweight, rows being inputs. */
export function packDown(codes: Uint8Array, rows: number, columns: number, bits: GptqBits): Int32Array {
  checkCodes(codes, rows * columns, bits, code)
  checkFilled(rows, bits)
  return new Int32Array(packColumns(codes, rows, columns, bits).buffer)
}

/** Words [rows*bits/32, columns] to codes [rows, columns]. */
export function unpackDown(words: Words, rows: number, columns: number, bits: GptqBits): Uint8Array {
  checkFilled(rows, bits)
  checkLength('packed words', words, rowWords(rows, bits) * columns, code)
  return unpackColumns(words, rows, columns, bits)
}

/** Codes [rows, columns] to words [rows, columns*bits/32]: the layout of qzeros, columns being outputs. */
export function packAcross(codes: Uint8Array, rows: number, columns: number, bits: GptqBits): Int32Array {
  checkCodes(codes, rows * columns, bits, code)
  checkFilled(columns, bits)
  return new Int32Array(packRows(codes, rows, columns, bits).buffer)
}

/** Words [rows, columns*bits/32] to codes [rows, columns]. */
export function unpackAcross(words: Words, rows: number, columns: number, bits: GptqBits): Uint8Array {
  checkFilled(columns, bits)
  checkLength('packed words', words, rows * rowWords(columns, bits), code)
  return unpackRows(words, rows, columns, bits)
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
        code,
        facts: { scales: scales.length, outputs },
      },
    )
  const groupOf = layer.groupOf ?? orderedGroups(inputs, Math.ceil(inputs / groups))
  const wrong = groupOf.length === inputs ? groupOf.find((g) => g < 0 || g >= groups) : groupOf.length
  if (wrong !== undefined)
    throw new FormatError(
      `g_idx needs ${inputs} groups from 0 to ${groups - 1}, found ${groupOf.length === inputs ? wrong : `${wrong} entries`}; the layer is damaged`,
      { code, facts: { inputs, groups, found: wrong } },
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

/** A run must fill its words, since nothing says where a shorter one would end. */
function checkFilled(length: number, bits: GptqBits): void {
  const perRun = bits === 3 ? 32 : 32 / bits
  if (length % perRun === 0) return
  throw new OptionError(
    `${length} codes of ${bits} bits do not fill 32-bit words; GPTQ needs sizes divisible by ${perRun}, leave this layer out`,
    { code, facts: { length, bits } },
  )
}
