/**
 * Products with columns that have level counts of their own, from codes in planes of 2, 3, 4 and 8 bits. A step is the range of
 * its row times a factor f of its column, so that f goes to the input and each plane has one step for all:
 *
 *   y = r (sum over planes of (code - middle) f x - sum over counts N of (zero_N - centre_N) t_N) + m t_c
 *
 *   r   high - low              f   1 / (N - 1), times 2^shift in a plane of high bits
 *   t_N   sum of f x over the columns of N levels, t_c over the columns of two levels around the middle m of the range
 *
 * Zeros are whole numbers of each row for each N, and take the bits of the largest N.
 */
import { concat, indexSelect, scope, type Tensor, tensor, where } from '../../tensor/index.ts'
import { type ColumnLevelValues, unpackLevels } from './column_levels.ts'
import { bitsOfCount, type LevelLayout, type LevelPlane, levelLayout, raiseOf } from './level_layout.ts'
import { type ProductActivations, packedProduct } from './packed_product.ts'
import { decodePacked, type PackedWeight, packCodes } from './packed_weight.ts'

export interface LevelWeight {
  shape: readonly [number, number]
  /** Of each column. */
  levels: Uint16Array
  centred: boolean
  planes: PackedWeight[]
  /** Column u32 and factor f32 at each place of all planes. */
  columns: Tensor
  factors: Tensor
  /** 1 where a place counts for a sum t, [sums, places]; those of the zeros first. */
  sums: PackedWeight
  /** [rows, counts] */
  zeros?: PackedWeight
  /** 4 m and r, f32 [rows] */
  middles?: Tensor
  ranges: Tensor
}

/** Packs codes; the tensors of the values may go afterwards. Nothing for more than 256 levels, for none, and for ranges without 0. */
export function levelWeight(values: ColumnLevelValues): LevelWeight | undefined {
  const { shape, lows, highs, centred } = values
  const levels = values.levels.toArray() as Uint16Array
  const layout = levelLayout(levels, centred)
  if (!layout || layout.planes.length === 0) return undefined
  return scope(() => {
    if (!(lows.max().item() <= 0 && highs.min().item() >= 0)) return undefined
    const ranges = highs.sub(lows)
    const hasMiddles = centred && levels.includes(2)
    return {
      ...{ shape, levels, centred, ranges },
      planes: packedPlanes(values, levels, layout),
      columns: joined(layout, (plane) => plane.columns, 'u32'),
      factors: joined(layout, (plane) => plane.factors, 'f32'),
      sums: packedSums(levels, layout, hasMiddles),
      ...(layout.counts.length > 0 && { zeros: packedZeros(lows, ranges, layout.counts) }),
      ...(hasMiddles && { middles: lows.add(highs).mul(0.5).mul(4) }),
    }
  })
}

function joined(
  { planes }: LevelLayout,
  part: (plane: LevelPlane) => Uint32Array | Float32Array,
  dtype: 'u32' | 'f32',
): Tensor {
  const numbers = planes.flatMap((plane) => Array.from(part(plane)))
  return tensor(numbers, [numbers.length], dtype)
}

const middleOf = (bits: number) => (2 ** bits - 1) / 2

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

/** Every column counts once, by its lowest bits. */
function packedSums(levels: Uint16Array, { planes, counts }: LevelLayout, hasMiddles: boolean): PackedWeight {
  const rows = counts.length + Number(hasMiddles)
  const places = planes.reduce((sum, { columns }) => sum + columns.length, 0)
  const ones = new Uint8Array(rows * places)
  let start = 0
  for (const { columns, shifts, widths } of planes) {
    for (const [at, column] of columns.entries()) {
      const index = counts.indexOf(levels[column]!)
      const row = index < 0 ? counts.length : index
      if (widths[at]! > 0 && shifts[at] === 0) ones[row * places + start + at] = 1
    }
    start += columns.length
  }
  return packCodes(tensor(ones, [rows, places], 'u8'), 2, 0)
}

/** round(-low / s) of each row and count, less what lies at the middle of the raised codes. */
function packedZeros(lows: Tensor, ranges: Tensor, counts: readonly number[]): PackedWeight {
  const rows = lows.size
  const bits = [2, 3, 4].find((each) => counts.at(-1)! <= 2 ** each) ?? 8
  const divisors = tensor(
    counts.map((count) => count - 1),
    [counts.length],
  )
  const raises = tensor(
    counts.map((count) => raiseOf(count, bits)),
    [counts.length],
  )
  // A range of nothing has its zero at code 0.
  const steps = ranges
    .maximum(2 ** -100)
    .reshape([rows, 1])
    .div(divisors)
  const codes = lows.neg().reshape([rows, 1]).div(steps).round().add(raises).cast('u8')
  return packCodes(codes, bits, middleOf(bits))
}

/** x f32 [rows, in] -> [rows, out]; `int8` rounds f x of neighbouring places. */
export function levelProduct(weight: LevelWeight, x: Tensor, activations: ProductActivations): Tensor {
  return scope(() => {
    const { planes, sums, zeros, middles, ranges } = weight
    const placed = indexSelect(x, 1, weight.columns).mul(weight.factors)
    const totals = packedProduct(sums, placed, 'f32')
    let start = 0
    const parts = planes.map((plane) => {
      const own = placed.slice(1, start, start + plane.shape[1])
      start += plane.shape[1]
      return packedProduct(plane, own, activations)
    })
    const counts = zeros?.shape[1] ?? 0
    const codes = parts.reduce((sum, part) => sum.add(part))
    const levels = zeros ? codes.sub(packedProduct(zeros, totals.slice(1, 0, counts), 'f32')) : codes
    const scaled = levels.mul(ranges)
    return middles ? scaled.add(totals.slice(1, counts, counts + 1).mul(middles)) : scaled
  })
}

/** The weight as numbers, f32 [out, in]: those of `decodeColumnLevels`. */
export function decodeLevelWeight(weight: LevelWeight): Tensor {
  return scope(() => {
    const { levels, centred, zeros, middles } = weight
    const [rows, columns] = weight.shape
    const { counts } = levelLayout(levels, centred)!
    const ofColumns = (numbers: ArrayLike<number>) => tensor(Float32Array.from(numbers), [columns])
    const codes = codesOf(weight)
    const groups = Uint32Array.from(levels, (count) => Math.max(0, counts.indexOf(count)))
    const below = zeros
      ? indexSelect(decodePacked(zeros), 1, tensor(groups, [columns], 'u32')).mul(
          ofColumns(Array.from(levels, (count) => Number(counts.includes(count)))),
        )
      : undefined
    const range = weight.ranges.reshape([rows, 1])
    const steps = range.div(ofColumns(Array.from(levels, (count) => Math.max(1, count - 1))))
    const plain = (below ? codes.sub(below) : codes).mul(steps)
    if (!middles) return plain
    // A code is half a step away from the middle.
    const around = middles
      .reshape([rows, 1])
      .mul(0.25)
      .add(codes.mul(2).mul(range.mul(0.125)))
    const isCentred = tensor(
      Array.from(levels, (count) => Number(count === 2)),
      [columns],
      'bool',
    )
    return where(isCentred, around, plain)
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

export const tensorsOfLevels = ({ planes, columns, factors, sums, zeros, middles, ranges }: LevelWeight) => [
  ...[...planes, sums, zeros].flatMap((each) => [each?.bytes, each?.order]),
  ...[columns, factors, middles, ranges],
]
