/**
 * How a weight of a Pare folder is put together: the kinds of `nn/values`, each with what its tensors cannot tell.
 * Version 1 knew grids of 2, 3, 4 and 8 bits with scales in f16 or f32, and blocks; version 2 all but rounded sums; version
 * 3 all but masked grids, levels of single columns, and grids of two levels with other bits for scales than for weights;
 * version 4 all but rotated grids.
 */
import { isTurnable } from '../nn/values/rotation_sizes.ts'
import type { StoredValues } from '../nn/values/values.ts'

type Shape = [rows: number, columns: number]

/** Types that numbers are stored in. */
export const numberTypes = ['f16', 'bf16', 'f32', 'f64'] as const
export type NumberType = (typeof numberTypes)[number]

interface Steps {
  shape: Shape
  /** 1 to 8. */
  bits: number
  groupSize: number | 'row'
  scaleType: 'f16' | 'bf16' | 'f32'
  /** The group of each column is stored. Version 1 does not say: there the tensor is in the file or not. */
  sorted?: boolean
}

export type PareWeight =
  | { kind: 'dense'; shape: Shape; numberType: NumberType }
  | ({
      kind: 'grid'
      symmetric: boolean
      /** Zeros that are no codes of the grid: larger ones, or numbers between the levels. */
      zeroType?: 'u8' | 'f32'
    } & Steps)
  | { kind: 'blocks'; shape: Shape; type: string }
  | ({ kind: 'offset' } & Steps)
  | {
      kind: 'bilevel'
      shape: Shape
      bits: number
      tile: { rows: number; columns: number }
      /** Where they are others than those of a weight. Versions before 4 cannot say it, nor what follows. */
      scaleBits?: number
      zeroBits?: number
      /** Zeros are their codes. */
      wholeZeros?: true
    }
  | {
      kind: 'codebook'
      shape: Shape
      /** 1 to 16. */
      bits: number
      books: number
      /** Of each book, up to 2^bits. */
      entries: number
      /** Weights of an entry. */
      tile: { rows: number; columns: number }
    }
  | {
      /** Not in versions before 4. */
      kind: 'column_levels'
      shape: Shape
      /** 64-bit words of all columns. */
      words: number
      /** Columns of two levels have them around the middle. */
      centred: boolean
    }
  | { kind: 'bitmask'; shape: Shape; kept: number; numberType: NumberType }
  | ({ kind: 'masked_grid'; kept: number; symmetric: boolean } & Steps)
  | {
      /** Not in versions before 5. */
      kind: 'rotated_grid'
      shape: Shape
      /** 1 to 8. */
      bits: number
    }
  | { kind: 'sparse_rows'; shape: Shape; entries: number; valueType: 'f16' | 'bf16' | 'f32' }
  | {
      kind: 'sum'
      shape: Shape
      terms: PareWeight[]
      /** Type that the sum is rounded to. Versions 1 and 2 cannot say it. */
      rounded?: 'f16'
    }
  | { kind: 'product'; shape: Shape; left: PareWeight; right: PareWeight }
  | {
      kind: 'scaled'
      shape: Shape
      values: PareWeight
      /** Types of the factors that are there. */
      rowType?: NumberType
      columnType?: NumberType
    }
  | { kind: 'permuted'; shape: Shape; values: PareWeight }

/** Trees of methods have a handful of nodes; a file that goes past these is damaged. */
const limits = { depth: 8, nodes: 64, weights: 2 ** 33 }

/** Version 1 can say it. */
export const isVersion1 = (weight: PareWeight): boolean =>
  weight.kind === 'blocks' ||
  (weight.kind === 'grid' &&
    [2, 3, 4, 8].includes(weight.bits) &&
    weight.scaleType !== 'bf16' &&
    weight.zeroType === undefined)

/** Version 2 can say it. */
export const isVersion2 = (weight: PareWeight): boolean =>
  isVersion3(weight) && everyPart(weight, (part) => part.kind !== 'sum' || part.rounded === undefined)

/** Version 3 can say it. */
export const isVersion3 = (weight: PareWeight): boolean =>
  isVersion4(weight) &&
  everyPart(weight, (part) => {
    if (part.kind === 'bilevel') return !part.wholeZeros && !part.scaleBits && !part.zeroBits
    return part.kind !== 'masked_grid' && part.kind !== 'column_levels'
  })

/** Version 4 can say it. */
export const isVersion4 = (weight: PareWeight): boolean =>
  everyPart(weight, (part) => part.kind !== 'rotated_grid')

function everyPart(weight: PareWeight, fits: (part: PareWeight) => boolean): boolean {
  const down = (part: PareWeight) => everyPart(part, fits)
  if (!fits(weight)) return false
  switch (weight.kind) {
    case 'sum':
      return weight.terms.every(down)
    case 'product':
      return down(weight.left) && down(weight.right)
    case 'scaled':
    case 'permuted':
      return down(weight.values)
    default:
      return true
  }
}

const isCount = (value: unknown, most = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most
const isSize = (value: unknown, most?: number): value is number => isCount(value, most) && value > 0
const isOneOf = (value: unknown, known: readonly string[]): boolean => known.includes(value as string)

/** Found in a file: nothing is certain about it. */
type Described = Record<string, unknown> & { shape: Shape }

function shapeOf(value: unknown): Shape | undefined {
  const shape = (value as Described | null)?.shape
  return Array.isArray(shape) && shape.length === 2 && shape.every((n) => isSize(n)) ? shape : undefined
}

const hasTiles = ({ tile, shape }: Described): boolean => {
  const { rows, columns } = (tile ?? {}) as Record<string, unknown>
  return isSize(rows) && isSize(columns) && shape[0] % rows === 0 && shape[1] % columns === 0
}

const hasSteps = ({ bits, groupSize, scaleType, sorted }: Described): boolean =>
  isSize(bits, 8) &&
  (groupSize === 'row' || isSize(groupSize)) &&
  isOneOf(scaleType, ['f16', 'bf16', 'f32']) &&
  typeof sorted === 'boolean'

/** What else a kind needs, beside its shape and children that are fine by themselves. */
const fits: Readonly<Record<StoredValues['kind'], (weight: Described) => boolean>> = {
  dense: ({ numberType }) => isOneOf(numberType, numberTypes),
  grid: (weight) =>
    hasSteps(weight) &&
    typeof weight.symmetric === 'boolean' &&
    (weight.zeroType === undefined || (!weight.symmetric && isOneOf(weight.zeroType, ['u8', 'f32']))),
  blocks: ({ type }) => typeof type === 'string',
  offset: hasSteps,
  bilevel: (weight) =>
    isSize(weight.bits, 8) &&
    [weight.scaleBits, weight.zeroBits].every((bits) => bits === undefined || isSize(bits, 8)) &&
    (weight.wholeZeros === undefined || weight.wholeZeros === true) &&
    hasTiles(weight),
  codebook: (weight) =>
    isSize(weight.bits, 16) &&
    isSize(weight.books) &&
    isSize(weight.entries, 2 ** weight.bits) &&
    hasTiles(weight),
  // A word holds four codes or more.
  column_levels: ({ words, centred, shape }) =>
    isCount(words, Math.ceil(shape[0] / 4) * shape[1]) && typeof centred === 'boolean',
  bitmask: ({ kept, numberType, shape }) =>
    isCount(kept, shape[0] * shape[1]) && isOneOf(numberType, numberTypes),
  masked_grid: (weight) =>
    hasSteps(weight) &&
    typeof weight.symmetric === 'boolean' &&
    isCount(weight.kept, weight.shape[0] * weight.shape[1]),
  rotated_grid: ({ bits, shape }) => isSize(bits, 8) && isTurnable(shape),
  sparse_rows: ({ entries, valueType }) =>
    isCount(entries, 2 ** 32 - 1) && isOneOf(valueType, ['f16', 'bf16', 'f32']),
  sum: (weight) =>
    (weight.rounded === undefined || weight.rounded === 'f16') &&
    childrenOf(weight).every(([, term]) => sameShape(weight, term)),
  product: ({ left, right, shape }) => {
    const [outer, inner] = [shapeOf(left)!, shapeOf(right)!]
    return outer[0] === shape[0] && outer[1] === inner[0] && inner[1] === shape[1]
  },
  scaled: (weight) =>
    sameShape(weight, weight.values) &&
    [weight.rowType, weight.columnType].every((type) => type === undefined || isOneOf(type, numberTypes)),
  permuted: (weight) => sameShape(weight, weight.values),
}

const sameShape = ({ shape }: Described, child: unknown): boolean =>
  shapeOf(child)!.every((n, axis) => n === shape[axis])

/** Parts of a tree by the names they have in the file; nothing where a kind needs some and has none. */
function childrenOf(weight: Described): (readonly [name: string, child: unknown])[] {
  switch (weight.kind) {
    case 'sum':
      return Array.isArray(weight.terms) && weight.terms.length > 0
        ? weight.terms.map((term, i) => [`terms.${i}`, term] as const)
        : [['terms', undefined]]
    case 'product':
      return [
        ['left', weight.left],
        ['right', weight.right],
      ]
    case 'scaled':
    case 'permuted':
      return [['values', weight.values]]
    default:
      return []
  }
}

/**
 * The part of a description of version 2 that does not say how it is put together, by its name; nothing where all of it
 * does. A tree is at most 8 deep and has at most 64 parts.
 */
export function faultOf(name: string, value: unknown): string | undefined {
  let nodes = 0
  const visit = (path: string, node: unknown, depth: number): string | undefined => {
    nodes++
    const shape = shapeOf(node)
    const weight = node as Described
    if (!shape || shape[0] * shape[1] > limits.weights || !Object.hasOwn(fits, String(weight.kind)))
      return path
    const children = childrenOf(weight)
    if (children.length > 0 && (depth === limits.depth || nodes + children.length > limits.nodes)) return path
    for (const [part, child] of children) {
      const fault = visit(`${path}.${part}`, child, depth + 1)
      if (fault !== undefined) return fault
    }
    return fits[weight.kind as StoredValues['kind']](weight) ? undefined : path
  }
  return visit(name, value, 1)
}

/** A description of version 1 is wholly there. */
export function fitsVersion1(value: unknown): boolean {
  const weight = value as Described
  if (!shapeOf(weight)) return false
  if (weight.kind === 'blocks') return fits.blocks(weight)
  return weight.kind === 'grid' && fits.grid({ ...weight, sorted: false }) && isVersion1(value as PareWeight)
}
