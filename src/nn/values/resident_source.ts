/**
 * Weights as products read them where a model stays in memory: in the form that they are stored in where there are kernels for
 * it, else as floats.
 *
 *   grids, blocks      their codes, `packed_product.ts`
 *   masks              what lives, `masked_product.ts`
 *   two-level grids    their codes, `bilevel_product.ts`
 *   sparse rows        their entries, `sparse_product.ts`
 *   codebooks          tables of few inputs, `codebook_lookup.ts`
 *   a rotated grid     its codes between two turns, `rotated_product.ts`
 *   levels a column    planes of 2, 3, 4 and 8 bits, `level_product.ts`
 *   a sum              y = x A^T + x B^T, with what rounding the sum changes in its sparse term
 *   a product          y = (x R^T) L^T of W = L R
 *   factors, orders    of the inputs or the outputs
 *   all else           floats, of 16 bits where f16 holds every number
 */
import { fromBytes, indexSelect, linear, scope, type Tensor, tensor } from '../../tensor/index.ts'
import type { WeightSource } from '../weight_source.ts'
import { bilevelWeight, bilevelWords, decodeBilevelWeight } from './bilevel_product.ts'
import { decodeLookup, lookupWeight, lookupWords } from './codebook_lookup.ts'
import { decodeLevelWeight, levelWeight, levelWords, nameOfLevels, tensorsOfLevels } from './level_product.ts'
import { decodeMasked, maskedWeight, maskedWords } from './masked_product.ts'
import { gridOfOffsets } from './offset_grid.ts'
import { fewRows, type ProductActivations, packedSource, rowProduct } from './packed_product.ts'
import { decodePacked, fitsHalf, packWeight } from './packed_weight.ts'
import { decodeRotatedWeight, rotatedWeight, rotatedWords, tensorsOfRotated } from './rotated_product.ts'
import { decodeSparseWeight, sparseRowsOf, sparseWeight, sparseWords } from './sparse_product.ts'
import {
  packedWords,
  permutedWords,
  productWords,
  type StoredProduct,
  scaledWords,
  storedProduct,
  sumWords,
  type Words,
} from './stored_words.ts'
import {
  bitsOfStored,
  decodeStored,
  type ProductValues,
  type ScaledValues,
  type StoredValues,
  type SumValues,
  shapeOfStored,
} from './values.ts'

/** What reads a weight: rows f32 [rows, in] to [rows, out]. */
interface Reader {
  /** In words, for reports. */
  form: string
  /** f32 [out, in] */
  dense: () => Tensor
  tensors: readonly (Tensor | undefined)[]
  words: Words
  /** More rows than `fewRows` are multiplied another way. */
  fewOnly?: boolean
}

export interface ResidentSource extends WeightSource {
  /** What products read, in words: `4 bits`, `mask over 4 bits`, `f16`. */
  readonly form: string
  readonly stored: StoredProduct
}

/**
 * @param activations `int8` rounds the inputs of codes to 8 bits, of each 32 with a scale of their own @default 'f32'
 * @example residentSource(bitmaskOf(dense, mask, 'f16')).matmul(x)
 */
export function residentSource(
  values: StoredValues,
  activations: ProductActivations = 'f32',
): ResidentSource {
  if (values.kind === 'grid' || values.kind === 'blocks')
    return { ...packedSource(values, activations), form: packedName(values) }
  const reader = readerOf(values) ?? floatReader(() => decodeStored(values))
  const shape = shapeOfStored(values)
  const bits = bitsOfStored(values)
  const { form, dense, words, fewOnly = false } = reader
  const product = (x: Tensor): Tensor =>
    fewOnly && x.extent(0) > fewRows ? linear(x, dense()) : storedProduct(words, shape[0], x, activations)
  return {
    form,
    stored: { words, activations, fewOnly },
    shape,
    matmul: rowProduct(shape, product, dense),
    dense,
    parameters: () => new Map(),
    size: () => ({ informationBits: bits, storedBits: bits }),
    resources: () => [...reader.tensors],
  }
}

const packedName = (values: StoredValues & { kind: 'grid' | 'blocks' }): string =>
  values.kind === 'blocks' ? values.type : `${values.grid.bits} bits`

/** Nothing where a part has no kernel. */
function readerOf(values: StoredValues): Reader | undefined {
  switch (values.kind) {
    case 'grid':
    case 'blocks': {
      const weight = scope(() => packWeight(values))
      return {
        form: packedName(values),
        dense: () => decodePacked(weight),
        tensors: [weight.bytes, weight.order],
        words: packedWords(weight),
      }
    }
    case 'bitmask':
    case 'masked_grid': {
      const weight = maskedWeight(values)
      if (!weight) return undefined
      const what = values.kind === 'bitmask' ? values.kept.dtype : `${values.grid.bits} bits`
      return {
        form: `mask over ${what}`,
        dense: () => decodeMasked(weight),
        tensors: [weight.stream, weight.starts],
        words: maskedWords(weight),
      }
    }
    case 'codebook': {
      if (values.bits > 8 || values.codebooks.extent(2) !== 1) return undefined
      const weight = lookupWeight(values)
      const { codes, codebooks, scales } = weight
      return {
        form: `${codebooks.extent(0)} codebooks of ${values.bits} bits`,
        dense: () => decodeLookup(weight),
        tensors: [codes, codebooks, scales],
        words: lookupWords(weight),
        fewOnly: true,
      }
    }
    case 'offset': {
      const grid = gridOfOffsets(values)
      return grid && readerOf(grid)
    }
    case 'bilevel': {
      const weight = bilevelWeight(values)
      if (!weight) return undefined
      return {
        form: `${values.bits} bits of two levels`,
        dense: () => decodeBilevelWeight(weight),
        tensors: [weight.bytes, weight.second],
        words: bilevelWords(weight),
      }
    }
    case 'sparse_rows': {
      const weight = sparseWeight(values)
      return {
        form: 'sparse rows',
        dense: () => decodeSparseWeight(weight),
        tensors: [weight.starts, weight.columns, weight.values],
        words: sparseWords(weight),
      }
    }
    case 'rotated_grid': {
      const weight = rotatedWeight(values)
      return {
        form: `rotated ${values.bits} bits`,
        dense: () => decodeRotatedWeight(weight),
        tensors: tensorsOfRotated(weight),
        words: rotatedWords(weight),
      }
    }
    case 'column_levels': {
      const weight = levelWeight(values)
      if (!weight) return undefined
      return {
        form: nameOfLevels(weight),
        dense: () => decodeLevelWeight(weight),
        tensors: tensorsOfLevels(weight),
        words: levelWords(weight),
      }
    }
    case 'dense':
      return floatReader(() => values.numbers.cast('f32'))
    case 'sum':
      return sumReader(values)
    case 'product':
      return productReader(values)
    case 'scaled':
      return scaledReader(values)
    case 'permuted': {
      const inner = readerOf(values.values)
      if (!inner) return undefined
      const order = tensor(values.order, [values.order.length], 'u32')
      const place = new Uint32Array(values.order.length)
      for (const [at, column] of values.order.entries()) place[column] = at
      return {
        form: inner.form,
        dense: () => scope(() => indexSelect(inner.dense(), 1, tensor(place, [place.length], 'u32'))),
        tensors: [...inner.tensors, order],
        words: permutedWords(order, inner.words),
        ...fewOnlyOf([inner]),
      }
    }
    default:
      return undefined
  }
}

/** A sum that is rounded afterwards is one of products where rounding changes its sparse term alone. */
function sumReader(values: SumValues): Reader | undefined {
  const terms = values.rounded ? unroundedTerms(values) : values.terms
  const parts = terms && allOf(terms)
  if (!parts) return undefined
  const add = (sum: Tensor, part: Tensor) => sum.add(part)
  return {
    form: parts.map(({ form }) => form).join(' + '),
    dense: () => scope(() => parts.map(({ dense }) => dense()).reduce(add)),
    tensors: parts.flatMap(({ tensors }) => tensors),
    words: sumWords(parts.map(({ words }) => words)),
    ...fewOnlyOf(parts),
  }
}

/**
 * Two terms with the sum of a rounded one: numbers of f16, and sparse ones less what rounding takes. Nothing for others. Where the
 * first has more digits, all of its numbers are rounded.
 */
function unroundedTerms({ terms }: SumValues): StoredValues[] | undefined {
  const [base, sparse, ...others] = terms
  if (!base || sparse?.kind !== 'sparse_rows' || others.length > 0) return undefined
  return scope(() => {
    const numbers = decodeStored(base)
    if (!fitsHalf(numbers)) return undefined
    const sum = numbers.add(decodeStored(sparse)).cast('f16').cast('f32')
    return [base, sparseRowsOf(sum.sub(numbers))]
  })
}

function productReader({ left, right }: ProductValues): Reader | undefined {
  const [outer, inner] = allOf([left, right]) ?? []
  if (!outer || !inner) return undefined
  return {
    form: `rank ${shapeOfStored(left)[1]}`,
    dense: () => scope(() => outer.dense().matmul(inner.dense())),
    tensors: [...outer.tensors, ...inner.tensors],
    words: productWords(outer.words, inner.words),
    ...fewOnlyOf([outer, inner]),
  }
}

function scaledReader({ values, rows, columns }: ScaledValues): Reader | undefined {
  const inner = readerOf(values)
  if (!inner) return undefined
  const [byRow, byColumn] = [rows?.cast('f32'), columns?.cast('f32')]
  const times = (x: Tensor, factor: Tensor | undefined) => (factor ? x.mul(factor) : x)
  return {
    form: inner.form,
    dense: () => scope(() => times(times(inner.dense(), byRow?.reshape([byRow.size, 1])), byColumn)),
    tensors: [...inner.tensors, byRow, byColumn],
    words: scaledWords(byRow, byColumn, inner.words),
    ...fewOnlyOf([inner]),
  }
}

const fewOnlyOf = (parts: readonly Reader[]) => ({ fewOnly: parts.some(({ fewOnly }) => fewOnly) })

/** Readers of all values, or nothing. */
function allOf(values: readonly StoredValues[]): Reader[] | undefined {
  const readers = values.map((each) => readerOf(each))
  if (readers.every((reader) => reader !== undefined)) return readers
  for (const tensor of readers.flatMap((reader) => reader?.tensors ?? [])) tensor?.dispose()
  return undefined
}

/** Numbers as floats of 16 bits where that loses nothing, else of 32. */
function floatReader(numbers: () => Tensor): Reader {
  return scope(() => {
    const wide = numbers()
    const [rows, columns] = wide.shape as [number, number]
    const isHalf = fitsHalf(wide)
    const stored = isHalf ? wide.cast('f16') : wide
    const bytes = fromBytes(stored.bytes(), [rows, columns * (isHalf ? 2 : 4)], 'u8')
    const weight = packWeight({
      ...{ kind: 'blocks', type: isHalf ? 'F16' : 'F32' },
      ...{ shape: [rows, columns], bytes },
    })
    return {
      form: isHalf ? 'f16' : 'f32',
      dense: () => decodePacked(weight),
      tensors: [weight.bytes],
      // Nothing is gained from rounded inputs.
      words: packedWords(weight, true),
    }
  })
}
