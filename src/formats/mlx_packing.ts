/**
 * The integers of MLX checkpoints, mode "affine": codes of a row as one little-endian stream of 32-bit words.
 *
 *   weight u32 [out, in*bits/32]   scales, biases [out, in/g]
 *   W[o,i] = scales[o,i/g] * q[o,i] + biases[o,i/g]
 *
 * g is 32, 64 or 128 and divides in, so that rows fill their words for every number of bits. Codes of 3, 5 and
 * 6 bits run across words: ml-explore/mlx keeps 8, 8 and 4 of them in 3, 5 and 3 bytes, which is the same stream.
 * A bias is an offset in units of the weight and no code: a grid with scale s and zero z has the bias -s*z.
 */
import { FormatError, OptionError } from '../tensor/errors.ts'
import { packRows, rowWords, unpackRows } from './bit_stream.ts'
import { checkCodes, checkLength, checkSizes } from './packing_checks.ts'

const code = 'PARE_E_MLX'

/** 1 bit is new: MLX 0.32 has it, older ones do not. */
export const mlxBits = [1, 2, 3, 4, 5, 6, 8] as const
export type MlxBits = (typeof mlxBits)[number]
export const mlxGroupSizes = [32, 64, 128] as const
export type MlxGroupSize = (typeof mlxGroupSizes)[number]

/** Codes [outputs, inputs] to words [outputs, inputs*bits/32]. @throws OptionError if rows do not fill words or a code does not fit */
export function packMlx(codes: Uint8Array, outputs: number, inputs: number, bits: MlxBits): Uint32Array {
  checkRows(outputs, inputs, bits)
  checkCodes(codes, outputs * inputs, bits, code)
  return packRows(codes, outputs, inputs, bits)
}

/** Words [outputs, inputs*bits/32] to codes [outputs, inputs]. @throws FormatError if there are more or fewer words */
export function unpackMlx(words: Uint32Array, outputs: number, inputs: number, bits: MlxBits): Uint8Array {
  checkRows(outputs, inputs, bits)
  checkLength('packed words', words, outputs * rowWords(inputs, bits), code)
  return unpackRows(words, outputs, inputs, bits)
}

/** A layer as its tensors hold it, scales and biases as numbers. */
export interface MlxTensors {
  bits: MlxBits
  groupSize: MlxGroupSize
  inputs: number
  outputs: number
  weight: Uint32Array
  /** [outputs, inputs/groupSize] */
  scales: Float32Array
  /** [outputs, inputs/groupSize] */
  biases: Float32Array
}

/**
 * The weights [outputs, inputs] in f32.
 *
 * @throws FormatError if sizes disagree, OptionError for bits or a group size that MLX does not have.
 */
export function dequantizeMlx(layer: MlxTensors): Float32Array {
  const { bits, groupSize, inputs, outputs, weight, scales, biases } = layer
  const codes = unpackMlx(weight, outputs, inputs, bits)
  const groups = mlxGroups(inputs, groupSize)
  checkLength('scales', scales, outputs * groups, code)
  checkLength('biases', biases, outputs * groups, code)
  const weights = new Float32Array(codes.length)
  for (let start = 0, group = 0; start < codes.length; start += groupSize, group++)
    for (let i = start; i < start + groupSize; i++) weights[i] = scales[group]! * codes[i]! + biases[group]!
  return weights
}

/** Groups of a row. @throws OptionError for another size of groups, FormatError if it does not divide the inputs */
export function mlxGroups(inputs: number, groupSize: number): number {
  if (!(mlxGroupSizes as readonly number[]).includes(groupSize))
    throw new OptionError(
      `MLX has groups of ${mlxGroupSizes.join(', ')} inputs, got ${groupSize}; choose one of them`,
      {
        code,
        facts: { groupSize },
      },
    )
  if (inputs % groupSize === 0) return inputs / groupSize
  throw new FormatError(
    `MLX needs inputs divisible by its groups of ${groupSize}, found ${inputs}; leave this layer out or change the group size`,
    { code, facts: { inputs, groupSize } },
  )
}

function checkRows(outputs: number, inputs: number, bits: number): void {
  checkSizes({ outputs, inputs }, code)
  if (!(mlxBits as readonly number[]).includes(bits))
    throw new OptionError(`MLX has codes of ${mlxBits.join(', ')} bits, got ${bits}; choose one of them`, {
      code,
      facts: { bits },
    })
  if ((inputs * bits) % 32 !== 0)
    throw new OptionError(
      `a row of ${inputs} codes of ${bits} bits does not fill 32-bit words; MLX needs inputs divisible by 32, leave this layer out`,
      { code, facts: { inputs, bits } },
    )
}
