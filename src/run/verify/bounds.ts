/**
 * How far an honest compression is from its source at most, so that what is farther is damaged. A bit less doubles what
 * rounding loses, so that bounds are a factor times 2^-bits, of the bits of the codes without scales and zeros.
 *
 * Factors were measured on SmolLM2-135M (its Q4_1 weights, 64 tokens), on the tiny checkpoints of interop/fixtures, and on
 * MiniLM for encoders: round to nearest and GPTQ (8 samples of 256 tokens) on affine grids of 2, 3, 4 and 8 bits with groups
 * of 16 to a row, and Q2_K to Q8_0.
 *
 *                                  largest found                                    bound
 *   |W' - W| / |W| of a matrix     3.7 * 2^-bits (GPTQ at 3 bits; rtn at most 2.4)  8 * 2^-bits
 *   1 - cosine of a row            193 * 4^-bits (GPTQ, 4 bits, symmetric: 0.75)    400 * 4^-bits, and a cosine of 0.1
 *   spread of logits               8.4 * 2^-bits (rtn at 4 bits: 0.43 to 0.53)      15 * 2^-bits
 *   1 - cosine of vectors          24 * 4^-bits (rtn at 4 bits: 0.093)              50 * 4^-bits
 *   floats, largest logit          3.2 u (BF16: 0.0125; u is the rounding unit)     8 u
 *   means of rows, of |W' - W|^2   0.0072 (pare-4m, rows of 256; MLX at 8 bits)      0.6
 *
 * Damage that is beyond them: query and key rows in the order of llama.cpp give rows with cosines about 0 and a matrix that
 * is 130% from its source at any bits; from 5 bits on they also give a spread of logits that is too large (0.64 to 0.82) or
 * vectors of an encoder that are too far (a cosine of 0.72 to 0.85 for one of six layers). Logits of another model have a
 * spread of about 1.4, which the bound of 4 bits (0.94) finds. An honest result of 4 bits may be nearly as far as a damaged
 * one (symmetric, one group a row: 0.61), and one of 2 bits as far as another model (1.4): below 4 bits no bound of logits
 * holds. Weights tell until 3 bits; at 2 an honest row may be as unlike its source as another one. Zeros that are off by one
 * move whole rows by a step, which at 8 bits is within the bound of a matrix (3% of it, one group a row): the means of rows
 * tell. A single zero or code that is off is within every bound.
 *
 * `.ci/verify_damage.js` tries these bounds on models that did not set them: 1,296 checks at 4 and 8 bits, of which sound
 * results came nearest with 6.56 * 2^-8 of a matrix and a spread of 16.6 * 2^-8 (GPTQ, one group a row).
 */
import type { WeightInfo } from '../../models/model_weights.ts'
import type { OpenModel } from '../../models/open_model.ts'
import { familyWeights, nameIn } from './weight_names.ts'

/** Largest difference of logits, of the largest one, where all weights are equal: sums of f32 in another order. */
const SAME_LOGITS = 1e-3
/** Cosine of vectors where all weights are equal. */
const SAME_VECTORS = 1 - 1e-6
const [OF_WEIGHTS, ROUNDING, OF_ROWS, OF_LOGITS, OF_VECTORS, OF_FLOATS] = [8, 3.7, 400, 15, Math.sqrt(160), 8]
/** Fewer bits have no bound of logits and vectors, or none of weights. */
const [FEWEST, FEWEST_OF_WEIGHTS] = [4, 3]
/** Bits a weight of half floats as scales for 128 columns each, a little rounded down. */
const SCALES = 0.12
/** Of weights whose zeros are all off by one 0.7 to 0.95; rounding gives about one over the columns. */
const [SHIFTED, FEWEST_COLUMNS] = [0.6, 64]
/** Cosine of a row with another one, of at least 500 columns, at most. */
const LEAST_ALIKE = 0.1

/** Largest relative error of a number that is rounded to the type. */
const roundoffs: Readonly<Record<string, number>> = { F32: 2 ** -24, F16: 2 ** -11, BF16: 2 ** -8 }
const significands: Readonly<Record<string, number>> = { F64: 53, F32: 24, F16: 11, BF16: 8 }

const holds = (type: string, source: string): boolean => {
  const [own, other] = [significands[type], significands[source]]
  // Pare reads every weight as f32.
  if (type === 'F32' || type === 'F64') return true
  if (own === undefined) return false
  // F16 has fewer exponents than BF16; small floats fit into either.
  return type === source || (isSmall(source) && other === undefined)
}
const isSmall = (type: string) => /^F[4-8]_/.test(type)

/** Whether the types of a result can hold every value of its source. */
export function areLossless(result: OpenModel, source: OpenModel): boolean {
  const others = familyWeights(source)
  return [...familyWeights(result)].every(([plain, name]) => {
    const other = nameIn(others, plain)
    return other !== undefined && holds(typeOf(result, name), typeOf(source, other))
  })
}

const typeOf = ({ weights }: OpenModel, name: string): string => weights.infos.get(name)!.type

/**
 * Bits of the codes of a type, without scales and zeros; of small floats those of an even grid that errs as much. Nothing
 * for floats, and for what bits alone do not describe: masks, products, codebooks.
 */
export function codeBits(type: string): number | undefined {
  const small = /F([4-8])_E(\d)M(\d)/.exec(type)
  if (small) return Number(small[3]) + 2
  const [, blocks, bits] = /^I?Q(\d)_|(\d+)[ -]?bit/.exec(type) ?? []
  const found = Number(blocks ?? bits)
  return found >= 1 && found <= 16 ? found : undefined
}

/**
 * The same of a weight, and one less where so few bytes are left for scales that a group has more than 128 columns: its
 * range is wider then, up to twice with levels that are symmetric.
 */
function bitsOf({ type, bytes, shape }: WeightInfo): number | undefined {
  const bits = codeBits(type)
  if (bits === undefined) return undefined
  // GPTQ stores a zero beside each scale, and 32 bits a column for its group.
  const [beside, scales] = type.startsWith('gptq-')
    ? [32 / Math.max(1, shape[0]!), SCALES * (1 + bits / 16)]
    : [0, SCALES]
  return (8 * bytes) / sizeOf(shape) - beside < bits + scales ? bits - 1 : bits
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1)

interface WeightBound {
  /** |W' - W| / |W| at most. */
  error: number
  /** The largest that rounding to the type was found to give. */
  rounding: number
  /** Cosine of a row with that of the source at least. */
  alike: number
  /** Share of the squares of W' - W that is that of the means of its rows, at most. */
  shifted: number
  reason: string
}

/** What a weight of the result may be from that of the source; nothing where no bound holds. */
export function farthest(result: OpenModel, name: string, source: WeightInfo): WeightBound | undefined {
  const type = typeOf(result, name)
  const floats = { alike: 1 - 1e-6, shifted: 1 }
  if (holds(type, source.type))
    return { ...floats, error: 0, rounding: 0, reason: `${type} for ${source.type}` }
  const roundoff = roundoffs[type]
  // Each number is off by a share u of itself at most: the sine of the angle between the rows is at most u.
  if (roundoff !== undefined)
    return {
      ...floats,
      ...{ alike: Math.min(floats.alike, 1 - roundoff ** 2), error: roundoff, rounding: roundoff },
      reason: type,
    }
  const bits = bitsOf(result.weights.infos.get(name)!)
  if (bits === undefined) return undefined
  const alike = Math.max(LEAST_ALIKE, 1 - OF_ROWS * 4 ** -bits)
  return bits < FEWEST_OF_WEIGHTS
    ? undefined
    : {
        ...{ error: OF_WEIGHTS * 2 ** -bits, rounding: ROUNDING * 2 ** -bits, alike },
        reason: `${bits} bits`,
        // The mean of few numbers is a large share by chance.
        shifted: source.shape.length === 2 && source.shape[1]! >= FEWEST_COLUMNS ? SHIFTED : 1,
      }
}

/** No bound, with the reason why, or a limit of something. */
type Bound<Limit> = { kind: 'none'; reason: string } | ({ reason: string } & Limit)

/** Of logits, on the largest difference or on the spread. */
export function logitBound(
  result: OpenModel,
  lossless: boolean,
): Bound<{ kind: 'largest' | 'relative'; most: number }> {
  if (lossless) return { kind: 'largest', most: SAME_LOGITS, reason: 'weights without loss' }
  const roundoff = roundoffOf(result)
  if (roundoff !== undefined)
    return {
      kind: 'largest',
      most: Math.max(SAME_LOGITS, OF_FLOATS * roundoff),
      reason: 'floats that are rounded',
    }
  const bits = effectiveBits(result)
  if (bits === undefined) return noBound
  if (bits < FEWEST) return tooFew(bits)
  return { kind: 'relative', most: OF_LOGITS * 2 ** -bits, reason: bitsText(bits) }
}

/** Of the vectors of a text encoder. */
export function cosineBound(result: OpenModel, lossless: boolean): Bound<{ kind: 'cosine'; least: number }> {
  const least = (spread: number) => Math.min(SAME_VECTORS, Number((1 - spread ** 2 / 2).toPrecision(6)))
  if (lossless) return { kind: 'cosine', least: SAME_VECTORS, reason: 'weights without loss' }
  const roundoff = roundoffOf(result)
  if (roundoff !== undefined)
    return { kind: 'cosine', least: least(OF_FLOATS * roundoff), reason: 'floats that are rounded' }
  const bits = effectiveBits(result)
  if (bits === undefined) return noBound
  return bits < FEWEST
    ? tooFew(bits)
    : { kind: 'cosine', least: least(OF_VECTORS * 2 ** -bits), reason: bitsText(bits) }
}

const noBound = { kind: 'none', reason: 'bits do not say how far such weights may be' } as const
const bitsText = (bits: number) => `${Number(bits.toFixed(2))} bits`
const tooFew = (bits: number) =>
  ({ kind: 'none', reason: `no bound holds at so few bits (${Number(bits.toFixed(2))})` }) as const

const typesOf = (open: OpenModel) => [...familyWeights(open).values()].map((name) => typeOf(open, name))

/** The coarsest rounding of a model of floats. */
function roundoffOf(open: OpenModel): number | undefined {
  const found = typesOf(open).map((type) => (type === 'F64' ? 0 : roundoffs[type]))
  return found.includes(undefined) ? undefined : Math.max(...(found as number[]))
}

/**
 * Bits of an even grid that errs as much as the matrices do together, or those of a table where they are fewer. Nothing
 * where a type does not tell.
 */
function effectiveBits(open: OpenModel): number | undefined {
  const matrices = new Set<string>(open.model.stages.flatMap(({ weights }) => weights))
  let [noise, numbers, fewest] = [0, 0, Number.POSITIVE_INFINITY]
  for (const name of familyWeights(open).values()) {
    const { type, shape } = open.weights.infos.get(name)!
    const isFloat = significands[type] !== undefined
    const bits = isFloat ? significands[type] : bitsOf(open.weights.infos.get(name)!)
    if (bits === undefined) return undefined
    const size = sizeOf(shape)
    if (!matrices.has(name)) fewest = Math.min(fewest, isFloat ? fewest : bits)
    else {
      noise += size * (isFloat ? 0 : 4 ** -bits)
      numbers += size
    }
  }
  return Math.min(fewest, noise === 0 ? Number.POSITIVE_INFINITY : -Math.log2(noise / numbers) / 2)
}
