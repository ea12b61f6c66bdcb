/** What decides which formats can take codes over: bits, groups, and how zeros and scales fit other types. */
import { bf16ToNumber, f16ToNumber, numberToBf16, numberToF16 } from '../../formats/half.ts'
import { type GridForm, groupWidth } from '../../nn/grid.ts'
import { scope } from '../../tensor/index.ts'
import { formOfLevels, type Levels } from './levels.ts'

export type ScaleType = GridForm['scaleType']
/** By scale type. */
export type Shifts = Readonly<Record<ScaleType, number>>

export interface LevelFacts {
  kind: Levels['kind']
  shape: readonly [number, number]
  bits: number
  /** Columns of a group. */
  width: number
  /** Groups are not neighbours. */
  sorted: boolean
  scaleType: ScaleType
  /** Scales are products of what the source stores, so that its type of scales says nothing. */
  derived: boolean
  /** Zeros, where all of them are whole and from 0 to 255: of an offset grid what stands for them. */
  zeros?: {
    least: number
    most: number /** Steps that the farthest offset is away from its zero. */
    shift: number
  }
  /** Steps that the farthest level moves by where scales are rounded to a type. */
  scaleShift: Shifts
  /** Steps that the farthest offset moves by where it is rounded to a type, or made from its zero. */
  offsetShift: Shifts
}

/** A zero that is farther from the offset, in steps, is not what the offset stands for. */
const NEAR = 1 / 8

const roundings: Readonly<Record<ScaleType, (value: number) => number>> = {
  f16: (value) => f16ToNumber(numberToF16(value)),
  bf16: (value) => bf16ToNumber(numberToBf16(value)),
  f32: Math.fround,
}
const types = Object.keys(roundings) as ScaleType[]

/**
 * The facts of a weight, of all its rows.
 *
 * @param derived scales are products of what the source stores
 */
export function factsOf(levels: Levels, derived = false): LevelFacts {
  const form = formOfLevels(levels)
  const [rows, columns] = levels.codes.shape as [number, number]
  const width = groupWidth(form, columns)
  const numbers = (x: Levels['scales']) => scope(() => x.cast('f32').toArray()) as Float32Array
  const scales = numbers(levels.scales)
  const zeros = levels.kind === 'grid' ? numbers(levels.zeros) : undefined
  const offsets = levels.kind === 'offset' ? numbers(levels.offsets) : undefined
  const [scaleShift, offsetShift] = [noShifts(), noShifts()]
  const top = 2 ** form.bits - 1
  let [least, most, shift] = [255, 0, 0]
  for (let i = 0; i < scales.length; i++) {
    const scale = scales[i]!
    const zero = zeros ? zeros[i]! : zeroOf(scale, offsets![i]!, form.bits)
    const offset = offsets ? offsets[i]! : -scale * zero
    const whole = Math.round(zero)
    least = Math.min(least, whole)
    most = Math.max(most, whole)
    shift = Math.max(
      shift,
      Math.abs(offset === -scale * whole ? 0 : stepsBetween(offset, -scale * whole, scale)),
    )
    for (const type of types) {
      const round = roundings[type]
      scaleShift[type] = Math.max(scaleShift[type], top * stepsBetween(round(scale), scale, scale))
      offsetShift[type] = Math.max(offsetShift[type], stepsBetween(round(offset), offset, scale))
    }
  }
  const isWhole = least >= 0 && most <= 255 && shift <= NEAR
  return {
    kind: levels.kind,
    shape: [rows, columns],
    ...{ bits: form.bits, width, scaleType: form.scaleType, derived, scaleShift, offsetShift },
    sorted: levels.groupOf.some((group, column) => group !== Math.floor(column / width)),
    ...(isWhole && { zeros: { least, most, shift } }),
  }
}

const noShifts = (): Record<ScaleType, number> => ({ f16: 0, bf16: 0, f32: 0 })

/**
 * The zero that an offset stands for; not whole where it stands for none. A group of one level, which is 0, has its zero
 * in the middle, as any zero gives it.
 */
export const zeroOf = (scale: number, offset: number, bits: number): number =>
  offset !== 0 ? -offset / scale : scale === 0 ? 2 ** (bits - 1) : 0

function stepsBetween(a: number, b: number, scale: number): number {
  if (a === b) return 0
  const steps = Math.abs((a - b) / scale)
  return Number.isNaN(steps) ? Number.POSITIVE_INFINITY : steps
}

/** Of all rows of a weight, from those of its parts. */
export function mergedFacts(a: LevelFacts, b: LevelFacts): LevelFacts {
  const most = (x: Shifts, y: Shifts): Shifts => ({
    f16: Math.max(x.f16, y.f16),
    bf16: Math.max(x.bf16, y.bf16),
    f32: Math.max(x.f32, y.f32),
  })
  const { zeros: _, ...rest } = a
  return {
    ...rest,
    shape: [a.shape[0] + b.shape[0], a.shape[1]],
    scaleShift: most(a.scaleShift, b.scaleShift),
    offsetShift: most(a.offsetShift, b.offsetShift),
    ...(a.zeros &&
      b.zeros && {
        zeros: {
          least: Math.min(a.zeros.least, b.zeros.least),
          most: Math.max(a.zeros.most, b.zeros.most),
          shift: Math.max(a.zeros.shift, b.zeros.shift),
        },
      }),
  }
}
