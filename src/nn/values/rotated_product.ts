/**
 * Products with a grid behind random orthogonal maps, from its codes: the maps turn what goes in and what comes out, so that
 * neither the weight nor the grid is ever numbers. Arithmetic of the maps: native/src/kronecker.
 *
 *   y = U^T C (V (f x)),   f = u * 2 scale / (2^bits - 1),   C = code - (2^bits - 1) / 2      see rotated_grid.ts
 */
import { scope, Tensor, tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { decodePacked, type PackedWeight, packCodes } from './packed_weight.ts'
import type { RandomOrthogonal } from './random_orthogonal.ts'
import { decodeRotatedGrid, type RotatedGridValues, rotationsOf } from './rotated_grid.ts'
import { packedWords, type Words } from './stored_words.ts'

/** A map as rows are turned by it: `order` u32 [size], then left T right of a tile T [a, b], or that and then back. */
interface Turn {
  order: Tensor
  /** f32 [a, a] and [b, b] */
  left: Tensor
  right: Tensor
}

export interface RotatedWeight {
  bits: number
  scale: number
  seed: number
  /** C */
  levels: PackedWeight
  /** u in f16, and f in f32, [columns] */
  columnScales: Tensor
  factors: Tensor
  into: Turn
  outOf: Turn
}

/** Packs the codes; the tensors of the values may go afterwards. */
export function rotatedWeight({ bits, codes, scale, columnScales, seed }: RotatedGridValues): RotatedWeight {
  return scope(() => {
    const [rows, columns] = codes.shape as [number, number]
    const top = 2 ** bits - 1
    const levels = packCodes(codes, bits, top / 2)
    const { left, right } = rotationsOf(seed, [rows, columns])
    const factors = columnScales.mul((2 * scale) / top)
    return {
      ...{ bits, scale, seed, levels, factors },
      columnScales: columnScales.cast('f16'),
      into: turnOf(right, 'there'),
      outOf: turnOf(left, 'back'),
    }
  })
}

/** There it is A T B^T, back A^T T B. */
function turnOf({ size, widths: [a, b], factors, order }: RandomOrthogonal, way: 'there' | 'back'): Turn {
  const [first, second] = [tensor(factors[0], [a, a], 'f32'), tensor(factors[1], [b, b], 'f32')]
  return {
    order: tensor(order, [size], 'u32'),
    left: way === 'there' ? first : first.transpose().contiguous(),
    right: way === 'there' ? second.transpose().contiguous() : second,
  }
}

/** What the codes of the weight meet: V (f x) of each row of x f32 [rows, in]. */
export function turnedInputs({ into: { order, left, right }, factors }: RotatedWeight, x: Tensor): Tensor {
  const handle = callNative((native) =>
    native.kroneckerTurn(x.handle, order.handle, left.handle, right.handle, factors.handle, false),
  )
  return new Tensor(x.kernels, handle, 'f32', x.shape)
}

/** `int8` rounds what comes out of the first map. */
export const rotatedWords = ({ levels, factors, into, outOf }: RotatedWeight): Words => [
  5,
  ...[into.order, into.left, into.right, factors].map(({ handle }) => handle),
  ...[outOf.order, outOf.left, outOf.right].map(({ handle }) => handle),
  ...packedWords(levels),
]

/** The weight as numbers, f32 [out, in]: those of `decodeRotatedGrid`. */
export function decodeRotatedWeight({ bits, scale, seed, levels, columnScales }: RotatedWeight): Tensor {
  return scope(() => {
    const codes = decodePacked(levels)
      .add((2 ** bits - 1) / 2)
      .cast('u8')
    const values = { bits, scale, seed, codes, columnScales: columnScales.cast('f32') }
    return decodeRotatedGrid({ kind: 'rotated_grid', ...values })
  })
}

export const tensorsOfRotated = ({ levels, columnScales, factors, into, outOf }: RotatedWeight) => [
  ...[levels.bytes, levels.order, columnScales, factors],
  ...[into, outOf].flatMap((turn) => [turn.order, turn.left, turn.right]),
]
