/**
 * Evenly spaced levels of one scale for the whole matrix, behind random orthogonal maps of both sides that a reader
 * rebuilds from a seed. Chee et al. 2023, arXiv:2307.13304, section 4.
 *
 *   W = U^T G V diag(u),   G = scale * (2 * code / (2^bits - 1) - 1)
 *
 * U [rows, rows] and V [columns, columns] are those of `random_orthogonal.ts`, u a factor a column. W is computed in f64 and
 * rounded to f32 once: machines whose sums have another order agree on nearly every number, and differ in last bits.
 */
import { full, linear, scope, type Tensor } from '../../tensor/index.ts'
import { decodeValues } from '../grid.ts'
import { type RandomOrthogonal, randomOrthogonal, turn, turnBack } from './random_orthogonal.ts'

export interface RotatedGridValues {
  kind: 'rotated_grid'
  /** 1 to 8. */
  bits: number
  /** u8 [rows, columns] */
  codes: Tensor
  /** Of all levels: the outermost ones. Exactly representable in f32. */
  scale: number
  /** f32 [columns], exactly representable in f16. */
  columnScales: Tensor
  /** Of U and V, 0 to 2^32 - 1. */
  seed: number
}

/** U and V of a shape. */
export interface Rotations {
  left: RandomOrthogonal
  right: RandomOrthogonal
}

/** @throws OptionError for more than 2^18 rows or columns */
export const rotationsOf = (seed: number, [rows, columns]: readonly [number, number]): Rotations => ({
  left: randomOrthogonal(seed, 'left', rows),
  right: randomOrthogonal(seed, 'right', columns),
})

/** U X V^T of a matrix X. */
export const turnBoth = ({ left, right }: Rotations, x: Tensor): Tensor =>
  scope(() => turn(left, turn(right, x).transpose()).transpose().contiguous())

/** U^T X V of a matrix X: what `turnBoth` did, undone. */
export const turnBothBack = ({ left, right }: Rotations, x: Tensor): Tensor =>
  scope(() => turnBack(right, turnBack(left, x.transpose()).transpose()))

/** G in f32, [rows, columns]. */
function levels({ bits, codes, scale }: RotatedGridValues): Tensor {
  const [rows, columns] = codes.shape as [number, number]
  const top = 2 ** bits - 1
  return decodeValues({
    kind: 'grid',
    grid: { bits, groupSize: 'row', symmetric: false, scaleType: 'f32' },
    codes,
    scales: full([rows, 1], (2 * scale) / top),
    zeros: full([rows, 1], top / 2),
    groupOf: new Uint32Array(columns),
  })
}

/** f32 [rows, columns] */
export function decodeRotatedGrid(values: RotatedGridValues): Tensor {
  return scope(() => {
    const shape = values.codes.shape as [number, number]
    const top = 2 ** values.bits - 1
    const grid = values.codes
      .cast('f64')
      .mul(2)
      .sub(top)
      .mul(values.scale / top)
    const turned = turnBothBack(rotationsOf(values.seed, shape), grid)
    return turned.mul(values.columnScales.cast('f64')).cast('f32')
  })
}

/**
 * Products x W^T = ((x u) V^T) G^T U, with the maps applied to what goes in and comes out, which costs less than undoing them
 * on the weight. The maps are made at the first call and kept: f64 [a, a] and [b, b] of each side.
 */
export function rotatedProduct(values: RotatedGridValues): (x: Tensor, bias?: Tensor) => Tensor {
  const [rows, columns] = values.codes.shape as [number, number]
  let made: Rotations | undefined
  return (x, bias) => {
    made ??= rotationsOf(values.seed, [rows, columns])
    const { left, right } = made
    return scope(() => {
      const flat = x.reshape([x.size / columns, columns]).mul(values.columnScales)
      const inner = linear(turn(right, flat), levels(values))
      const outer = turnBack(left, inner).reshape([...x.shape.slice(0, -1), rows])
      return bias ? outer.add(bias) : outer
    })
  }
}

/** Codes, a scale, a seed of 32 bits, and a half a column. */
export function bitsOfRotatedGrid({ bits, codes }: RotatedGridValues): number {
  return codes.size * bits + 32 + 32 + 16 * codes.extent(1)
}
