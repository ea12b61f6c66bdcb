/**
 * How columns of any number of levels, up to 256, lie in planes of 2, 3, 4 and 8 bits. A code of 5 to 7 bits is two: its low
 * bits, and its high ones in another plane.
 */

/** Codes of a plane, side by side. Places past the columns have the factor 0. */
export interface LevelPlane {
  bits: 2 | 3 | 4 | 8
  /** Of each place: column, factor in f32, and which bits of the code, as those from `shift` on. */
  columns: Uint32Array
  factors: Float32Array
  shifts: Uint8Array
  /** Bits of the code itself, which may be fewer than those of the plane. */
  widths: Uint8Array
}

export interface LevelLayout {
  planes: LevelPlane[]
  /** Distinct numbers of levels above 1, ascending; without 2 where those are centred. */
  counts: number[]
}

/** Places of a plane are whole parts, and best four of them. */
const PART = 32
const QUAD = 4 * PART
/** Share of all bits that the last plane may be filled up with. */
const MOST_FILLED = 1 / 24
const widest = 256
const PLANES = [2, 3, 4, 8] as const

interface Place {
  column: number
  factor: number
  shift: number
  width: number
}

/** Bits of the parts of a code, low ones first. */
function partsOf(count: number): readonly number[] {
  if (count <= 16) return [count <= 4 ? 2 : count <= 8 ? 3 : 4]
  return count <= 32 ? [3, 2] : count <= 64 ? [4, 2] : count <= 128 ? [4, 3] : [8]
}

export const bitsOfCount = (count: number): number => partsOf(count).reduce((sum, bits) => sum + bits, 0)

/** What codes of so many levels are raised by, so that they lie around the middle of so many bits. */
export const raiseOf = (count: number, bits: number): number => Math.floor((2 ** bits - count) / 2)

export const middleOf = (bits: number): number => (2 ** bits - 1) / 2

/** Where the middle of all bits of raised codes stands among the codes. */
export const centreOf = (count: number): number =>
  middleOf(bitsOfCount(count)) - raiseOf(count, bitsOfCount(count))

/** A unit of a code in ranges of a row. Two centred levels are a quarter of it apart. */
export const factorOf = (count: number, centred: boolean): number =>
  Math.fround(centred && count === 2 ? 0.25 : 1 / (count - 1))

/** @param levels of each column; nothing where one has more than 256 */
export function levelLayout(levels: Uint16Array, centred: boolean): LevelLayout | undefined {
  if (levels.some((count) => count > widest)) return undefined
  const places = new Map<number, Place[]>(PLANES.map((bits) => [bits, []]))
  for (const [column, count] of levels.entries()) {
    if (count <= 1) continue
    let shift = 0
    for (const width of partsOf(count)) {
      places.get(width)!.push({ column, factor: factorOf(count, centred) * 2 ** shift, shift, width })
      shift += width
    }
  }
  const counts = [...new Set(levels)].filter((count) => count > (centred ? 2 : 1)).sort((a, b) => a - b)
  return { planes: filled(places), counts }
}

/**
 * Neighbours have like factors, since 32 inputs are rounded together. Kernels read four parts at a time: what is left of a
 * plane moves to the next one or is filled up, whichever takes fewer bits; the last is filled up where that is little.
 */
function filled(places: Map<number, Place[]>): LevelPlane[] {
  const planes: LevelPlane[] = []
  const used = PLANES.filter((bits) => places.get(bits)!.length > 0)
  let total = 0
  for (const [index, bits] of used.entries()) {
    const own = places.get(bits)!.sort((a, b) => b.factor - a.factor || a.column - b.column)
    const rest = own.length % QUAD
    const next = used[index + 1]
    const missing = rest === 0 ? 0 : QUAD - rest
    if (next && rest * (next - bits) < missing * bits)
      places.get(next)!.push(...own.splice(own.length - rest))
    total += own.length * bits
    const unit = next || missing * bits <= total * MOST_FILLED ? QUAD : PART
    if (own.length > 0) planes.push(planeOf(bits, own, unit))
  }
  return planes
}

function planeOf(bits: LevelPlane['bits'], places: readonly Place[], unit: number): LevelPlane {
  const size = Math.ceil(places.length / unit) * unit
  const plane = {
    bits,
    columns: new Uint32Array(size),
    factors: new Float32Array(size),
    shifts: new Uint8Array(size),
    widths: new Uint8Array(size),
  }
  for (const [at, { column, factor, shift, width }] of places.entries()) {
    plane.columns[at] = column
    plane.factors[at] = factor
    plane.shifts[at] = shift
    plane.widths[at] = width
  }
  return plane
}
