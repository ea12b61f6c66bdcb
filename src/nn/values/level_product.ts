/**
 * Products with columns that have level counts of their own, from codes in planes of 2, 3, 4 and 8 bits. A step is the range of
 * its row times a factor of its column, so that factors go to the inputs, and zeros follow from the ranges. Arithmetic:
 * native/src/level_product.rs.
 */
import { concat, indexSelect, scope, type Tensor, tensor, where } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { type ColumnLevelValues, unpackLevels } from './column_levels.ts'
import { bitsOfCount, centreOf, type LevelLayout, levelLayout, middleOf, raiseOf } from './level_layout.ts'
import { decodePacked, type PackedWeight, packCodes } from './packed_weight.ts'
import type { Words } from './stored_words.ts'

export interface LevelWeight {
  shape: readonly [number, number]
  /** Of each column. */
  levels: Uint16Array
  centred: boolean
  planes: PackedWeight[]
  /** Number of the form of each plane. */
  forms: number[]
  /** Of each place of all planes: column u32, factor f32, and which total it counts for, u16. */
  columns: Tensor
  factors: Tensor
  groups: Tensor
  /** Distinct level counts that have a zero, u16. */
  counts: Tensor
  /** f32 [rows] */
  lows: Tensor
  highs: Tensor
}

/** Packs codes; words and levels may go afterwards. Nothing for more than 256 levels, for none, and for ranges without 0. */
export function levelWeight(values: ColumnLevelValues): LevelWeight | undefined {
  const { shape, lows, highs, centred } = values
  const levels = values.levels.toArray() as Uint16Array
  const layout = levelLayout(levels, centred)
  if (!layout || layout.planes.length === 0) return undefined
  return scope(() => {
    if (!(lows.max().item() <= 0 && highs.min().item() >= 0)) return undefined
    const planes = packedPlanes(values, levels, layout)
    const joined = (parts: readonly ArrayLike<number>[], dtype: 'u32' | 'f32' | 'u16') => {
      const numbers = parts.flatMap((part) => Array.from(part))
      return tensor(numbers, [numbers.length], dtype)
    }
    return {
      ...{ shape, levels, centred, planes },
      forms: planes.map(({ form }) => callNative((native) => native.packedFormCode(form))),
      columns: joined(
        layout.planes.map((plane) => plane.columns),
        'u32',
      ),
      factors: joined(
        layout.planes.map((plane) => plane.factors),
        'f32',
      ),
      groups: joined([groupsOf(levels, layout)], 'u16'),
      counts: joined([layout.counts], 'u16'),
      lows,
      highs,
    }
  })
}

function packedPlanes(
  { shape, words, ...values }: ColumnLevelValues,
  levels: Uint16Array,
  layout: LevelLayout,
) {
  const [rows, columns] = shape
  const codes = scope(() => unpackLevels(words, values.levels, rows).toArray() as Uint16Array)
  return layout.planes.map((plane) => {
    const { bits, shifts, widths } = plane
    const places = plane.columns.length
    const own = new Uint8Array(rows * places)
    for (let place = 0; place < places && widths[place]! > 0; place++) {
      const column = plane.columns[place]!
      const count = levels[column]!
      const [raise, shift, width] = [raiseOf(count, bitsOfCount(count)), shifts[place]!, widths[place]!]
      const [mask, lift] = [2 ** width - 1, raiseOf(2 ** width, bits)]
      for (let row = 0; row < rows; row++)
        own[row * places + place] = (((codes[row * columns + column]! + raise) >> shift) & mask) + lift
    }
    return packCodes(tensor(own, [rows, places], 'u8'), bits, middleOf(bits))
  })
}

/** Every column counts once, by its lowest bits: for its level count, or behind all for those around a middle. */
function groupsOf(levels: Uint16Array, { planes, counts }: LevelLayout): number[] {
  const none = counts.length + 1
  return planes.flatMap(({ columns, shifts, widths }) =>
    Array.from(columns, (column, place) => {
      if (widths[place] === 0 || shifts[place]! > 0) return none
      const index = counts.indexOf(levels[column]!)
      return index < 0 ? counts.length : index
    }),
  )
}

/** `int8` rounds inputs times factors, of neighbouring places. */
export const levelWords = ({ planes, forms, ...weight }: LevelWeight): Words => [
  ...[6, planes.length],
  ...planes.flatMap(({ bytes }, index) => [forms[index]!, bytes.handle]),
  ...[weight.columns, weight.factors, weight.groups, weight.counts].map(({ handle }) => handle),
  ...[weight.lows.handle, weight.highs.handle],
]

/** The weight as numbers, f32 [out, in]: those of `decodeColumnLevels`. */
export function decodeLevelWeight(weight: LevelWeight): Tensor {
  return scope(() => {
    const { levels, centred } = weight
    const columns = levels.length
    const ofColumns = (of: (count: number) => number) => tensor(Float32Array.from(levels, of), [columns])
    const [low, high] = [weight.lows, weight.highs].map((ends) => ends.reshape([ends.size, 1]))
    const range = high!.sub(low!)
    const steps = range.div(ofColumns((count) => Math.max(1, count - 1)))
    // Steps of nothing, whose zero is none, are not divided by.
    const zeros = low!
      .neg()
      .div(steps.maximum(2 ** -100))
      .round()
    const centres = ofColumns((count) => (count > 1 ? centreOf(count) : 0))
    const codes = codesOf(weight)
    const plain = codes
      .sub(zeros.sub(centres))
      .mul(steps)
      .mul(ofColumns((count) => Number(count > 1)))
    if (!centred) return plain
    // A code is half a step away from the middle.
    const around = low!
      .add(high!)
      .mul(0.5)
      .add(codes.mul(2).mul(range.mul(0.125)))
    return where(ofColumns((count) => Number(count === 2)).cast('bool'), around, plain)
  })
}

/** Codes less the middle of the raised ones, f32 [rows, columns]; 0 for columns of one level. */
function codesOf({ shape: [, columns], levels, centred, planes }: LevelWeight): Tensor {
  const all = concat(planes.map(decodePacked), 1)
  const [low, high] = [new Uint32Array(columns), new Uint32Array(columns)]
  const [once, times] = [new Float32Array(columns), new Float32Array(columns)]
  let start = 0
  for (const plane of levelLayout(levels, centred)!.planes) {
    for (const [at, column] of plane.columns.entries()) {
      const shift = plane.shifts[at]!
      if (plane.widths[at] === 0) continue
      ;(shift === 0 ? low : high)[column] = start + at
      ;(shift === 0 ? once : times)[column] = 2 ** shift
    }
    start += plane.columns.length
  }
  const part = (places: Uint32Array, factors: Float32Array) =>
    indexSelect(all, 1, tensor(places, [columns], 'u32')).mul(tensor(factors, [columns]))
  return part(low, once).add(part(high, times))
}

/** `2, 3 and 4 bits by columns` */
export function nameOfLevels({ planes }: LevelWeight): string {
  const bits = planes.map(({ form }) => ('bits' in form ? form.bits : 0))
  const last = bits.pop()
  return `${bits.length > 0 ? `${bits.join(', ')} and ` : ''}${last} bits by columns`
}

export const tensorsOfLevels = ({ planes, ...weight }: LevelWeight) => [
  ...planes.map(({ bytes }) => bytes),
  ...[weight.columns, weight.factors, weight.groups, weight.counts, weight.lows, weight.highs],
]
