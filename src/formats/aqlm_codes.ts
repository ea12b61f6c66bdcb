/**
 * The codes of AQLM checkpoints: for each group of weights an index into each of M codebooks of 2^B vectors.
 *
 *   codes [out/og, in/ig, M] int8 for B <= 8, int16 for B <= 16   codebooks [M, 2^B, og, ig]   scales [out/og, 1, 1, 1]
 *   W[o*og + a, i*ig + c] = scales[o] * sum over m of codebooks[m, codes[o,i,m], a, c]
 *
 * Indices from 2^(B-1) on are stored less 2^B, so that they look negative; a reader takes them modulo 2^B. On CPUs the
 * reference turns the codes to [in/ig, out/og, M] in memory where B = 8, and a model saved after that has them so.
 * Vahe1994/AQLM, inference_lib/src/aqlm.
 */
import { FormatError, OptionError } from '../tensor/errors.ts'
import { checkCodes, checkLength, checkSizes } from './packing_checks.ts'

const code = 'PARE_E_AQLM'

/** What a layer must have by its shape and the config. */
export interface AqlmShape {
  /** out / og */
  outputGroups: number
  /** in / ig */
  inputGroups: number
  /** M */
  codebooks: number
  /** B, from 1 to 16 */
  bits: number
}

/** Type of the stored codes: the least of the two that holds B bits. @throws OptionError for B outside 1 to 16 */
export function aqlmType(bits: number): 'I8' | 'I16' {
  if (Number.isInteger(bits) && bits >= 1 && bits <= 16) return bits <= 8 ? 'I8' : 'I16'
  throw new OptionError(`AQLM has codes of 1 to 16 bits, got ${bits}; choose one of them`, {
    code,
    facts: { bits },
  })
}

/**
 * How stored codes of this shape lie: `plain` [out/og, in/ig, M] or `turned` [in/ig, out/og, M]. Where both are one
 * shape, the shape cannot tell: this says plain, as quantisers write it.
 *
 * @throws FormatError if the shape is neither.
 */
export function aqlmLayout(shape: readonly number[], layer: AqlmShape): 'plain' | 'turned' {
  const { outputGroups, inputGroups, codebooks } = layer
  const is = (...wanted: number[]) => shape.length === 3 && wanted.every((size, axis) => size === shape[axis])
  if (is(outputGroups, inputGroups, codebooks)) return 'plain'
  if (is(inputGroups, outputGroups, codebooks)) return 'turned'
  throw new FormatError(
    `AQLM codes need the shape [${outputGroups}, ${inputGroups}, ${codebooks}], found [${shape.join(', ')}]; the layer is damaged`,
    { code, facts: { outputGroups, inputGroups, codebooks, found: shape } },
  )
}

/**
 * Stored codes to indices [out/og, in/ig, M] from 0 to 2^B - 1.
 *
 * @throws FormatError if type, shape and length disagree.
 * @example aqlmIndices(Int8Array.of(-1), [1, 1, 1], { outputGroups: 1, inputGroups: 1, codebooks: 1, bits: 8 }) // [255]
 */
export function aqlmIndices(
  stored: Int8Array | Int16Array,
  shape: readonly number[],
  layer: AqlmShape,
): Uint16Array {
  checkLayer(layer)
  const { outputGroups, inputGroups, codebooks, bits } = layer
  const found = stored instanceof Int8Array ? 'I8' : 'I16'
  if (found !== aqlmType(bits))
    throw new FormatError(
      `AQLM stores codes of ${bits} bits as ${aqlmType(bits)}, found ${found}; the layer does not fit its config`,
      { code, facts: { bits, found } },
    )
  const turned = aqlmLayout(shape, layer) === 'turned'
  checkLength('codes', stored, outputGroups * inputGroups * codebooks, code)
  const mask = 2 ** bits - 1
  const indices = new Uint16Array(stored.length)
  for (let at = 0; at < indices.length; at++) {
    const [m, group] = [at % codebooks, Math.floor(at / codebooks)]
    const [o, i] = [Math.floor(group / inputGroups), group % inputGroups]
    indices[at] = stored[turned ? (i * outputGroups + o) * codebooks + m : at]! & mask
  }
  return indices
}

/** Indices [out/og, in/ig, M] to the codes that are stored, in the plain layout. @throws OptionError if one does not fit */
export function aqlmCodes(indices: Uint16Array, layer: AqlmShape): Int8Array | Int16Array {
  checkLayer(layer)
  const { outputGroups, inputGroups, codebooks, bits } = layer
  checkCodes(indices, outputGroups * inputGroups * codebooks, bits, code)
  const signed = Int16Array.from(indices, (index) => (index >= 2 ** (bits - 1) ? index - 2 ** bits : index))
  return aqlmType(bits) === 'I8' ? Int8Array.from(signed) : signed
}

function checkLayer({ outputGroups, inputGroups, codebooks, bits }: AqlmShape): void {
  checkSizes({ outputGroups, inputGroups, codebooks }, code)
  aqlmType(bits)
}
