/**
 * Levels: one weight stored in many ways, of which an allocation picks one.
 *
 *   numbers   values as they are, with a bit for each place where some are 0
 *   codes     codes on a grid; with a bit for each place, only those of weights that are not pruned are stored
 */
import type { AffineValues } from '../nn/grid.ts'
import { decodeValues } from '../nn/grid.ts'
import { decodeBitmask } from '../nn/values/bitmask.ts'
import { sizeOf } from '../tensor/dtype.ts'
import { matmul, scope, type Tensor } from '../tensor/index.ts'
import type { LayerTask, StatisticName } from './method.ts'

export type LevelValues =
  | {
      readonly kind: 'numbers'
      readonly shape: readonly [number, number]
      /** [rows, ceil(columns / 8)]: bit c % 8 of byte c / 8 marks column c as kept. Absent where all are. */
      readonly mask?: Uint8Array
      /** f16 or f32 [kept], in the order of the rows. */
      readonly kept: Tensor
    }
  | {
      readonly kind: 'codes'
      /** Weights that the mask does not keep have the code of their zero. Groups are neighbouring columns. */
      readonly values: AffineValues
      /** As above. */
      readonly mask?: Uint8Array
    }

/** How many of the inputs of each group live, where all groups are alike. */
export interface GroupPattern {
  readonly n: number
  readonly m: number
}

export interface Level {
  /** What a profile names it by; once in a layer. */
  readonly level: string
  readonly values: LevelValues
  /** In any unit that adds up over layers; finite, from 0 on. */
  readonly error: number
  /** Where zeros follow it. */
  readonly pattern?: GroupPattern
}

/** A method of the levels shape: what it makes of one weight, one level after the other. */
export interface LevelsMethod {
  readonly name: string
  readonly needs: readonly StatisticName[]
  levels(task: LayerTask): Iterable<Level>
}

export const shapeOfLevel = (values: LevelValues): readonly [number, number] =>
  values.kind === 'numbers' ? values.shape : (values.values.codes.shape as [number, number])

/** f32 [rows, columns] */
export function decodeLevel(values: LevelValues): Tensor {
  if (values.kind === 'codes') return decodeValues(values.values)
  const { shape, mask, kept } = values
  if (mask) return decodeBitmask({ kind: 'bitmask', shape, mask, kept })
  return scope(() => kept.cast('f32').reshape(shape))
}

/** Marks of a mask; bits past the last column are none. */
export function marksOf(mask: Uint8Array): number {
  let marks = 0
  for (let byte of mask) for (; byte > 0; byte &= byte - 1) marks++
  return marks
}

/** Weights that are not pruned. */
export function keptOf(values: LevelValues): number {
  const [rows, columns] = shapeOfLevel(values)
  return values.mask ? marksOf(values.mask) : rows * columns
}

/** Stored bits: mask, numbers or codes of what is kept, scales, and zeros of 8 bits. */
export function bitsOfLevel(values: LevelValues): number {
  const [rows, columns] = shapeOfLevel(values)
  const mask = values.mask ? rows * Math.ceil(columns / 8) * 8 : 0
  if (values.kind === 'numbers') return mask + values.kept.size * sizeOf(values.kept.dtype) * 8
  const { grid, scales, zeros } = values.values
  const scaleBits = scales.size * (grid.scaleType === 'f32' ? 32 : 16)
  return mask + keptOf(values) * grid.bits + scaleBits + (grid.symmetric ? 0 : zeros.size * 8)
}

/** |(W - W') X|^2 / |W X|^2; 0 where the layer gives nothing. */
export function relativeOutputError(weight: Tensor, changed: Tensor, gram: Tensor): number {
  return scope(() => {
    const energy = (x: Tensor) => matmul(x, gram).mul(x).sum().item()
    const wide = weight.cast('f64')
    const [lost, all] = [energy(changed.cast('f64').sub(wide)), energy(wide)]
    return all > 0 ? Math.max(0, lost) / all : 0
  })
}
