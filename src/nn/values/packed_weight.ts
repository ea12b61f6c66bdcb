/** Weights in the forms that packed products read: blocks of ggml as they lie, grids in blocks of their own. */
import { full, indexSelect, scope, Tensor, tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import type { AffineValues, BlockValues, Values } from '../grid.ts'

/** As the native core names it; `group` counts columns, a multiple of 32. */
export type PackedForm = { blockType: string } | { bits: number; group: number; wide: boolean }

export interface PackedWeight {
  form: PackedForm
  shape: readonly [number, number]
  /** u8 [rows, bytes of a row] */
  bytes: Tensor
  /** Column at each place of a packed row, past the last for none. @default the columns in their order */
  order?: Tensor
}

/** Places in a part of a packed row. */
const PART = 32

/**
 * Packs values once. A group of columns becomes a block of whole parts of 32; groups that are not are filled up with places
 * that count for nothing, so that groups of 16 take twice the bytes. Codes of 1 bit are kept in 2, of 5 to 7 in 8.
 */
export const packWeight = (values: Values): PackedWeight =>
  values.kind === 'blocks' ? packedBlocks(values) : packedGrid(values)

const packedBlocks = ({ type, shape, bytes }: BlockValues): PackedWeight => ({
  form: { blockType: type },
  shape,
  bytes,
})

/** Codes u8 [rows, columns] of some bits, less a number that f16 holds. */
export const packCodes = (codes: Tensor, bits: number, zero: number): PackedWeight => {
  const [rows, columns] = codes.shape as [number, number]
  return packedGrid({
    kind: 'grid',
    grid: { bits, groupSize: 'row', symmetric: false, scaleType: 'f16' },
    codes,
    scales: full([rows, 1], 1),
    zeros: full([rows, 1], zero),
    groupOf: new Uint32Array(columns),
  })
}

function packedGrid({ grid, codes, scales, zeros: stored, groupOf }: AffineValues): PackedWeight {
  const [rows, columns] = codes.shape as [number, number]
  const places = placesOf(groupOf, scales.extent(1))
  const isPlain = places.order.length === columns && places.order.every((column, place) => column === place)
  return scope(() => {
    const levels = stored.cast('f32')
    const form = {
      bits: [2, 3, 4].find((bits) => grid.bits <= bits) ?? 8,
      group: places.group,
      wide: ![scales, levels].every(fitsHalf),
    }
    const order = tensor(places.order, [places.order.length], 'u32')
    const handle = callNative((native) =>
      native.packGrid(form, codes.handle, order.handle, scales.handle, levels.handle),
    )
    const blocks = places.order.length / places.group
    const blockBytes = (form.wide ? 8 : 4) + (form.bits * places.group) / 8
    const bytes = new Tensor(codes.kernels, handle, 'u8', [rows, blocks * blockBytes])
    return { form, shape: [rows, columns], bytes, ...(isPlain ? {} : { order }) }
  })
}

/** The columns of each group side by side, every group as wide as the widest in whole parts. */
function placesOf(groupOf: Uint32Array, groups: number): { order: Uint32Array; group: number } {
  const columns = Array.from({ length: groups }, (): number[] => [])
  for (const [column, group] of groupOf.entries()) columns[group]!.push(column)
  const widest = columns.reduce((most, { length }) => Math.max(most, length), 1)
  const group = Math.ceil(widest / PART) * PART
  const order = new Uint32Array(groups * group).fill(groupOf.length)
  for (const [index, own] of columns.entries()) order.set(own, index * group)
  return { order, group }
}

/** Whether f16 holds every number. */
export const fitsHalf = (x: Tensor): boolean =>
  scope(() => x.cast('f16').cast('f32').sub(x).abs().max().item()) === 0

/** The weight as numbers, f32 [rows, columns]. */
export function decodePacked({ form, bytes, shape: [rows, columns], order }: PackedWeight): Tensor {
  return scope(() => {
    const handle = callNative((native) => native.decodePacked(form, bytes.handle))
    const places = order?.size ?? columns
    const decoded = new Tensor(bytes.kernels, handle, 'f32', [rows, places])
    if (!order) return decoded
    const placeOf = new Uint32Array(columns)
    for (const [place, column] of (order.toArray() as Uint32Array).entries())
      if (column < columns) placeOf[column] = place
    return indexSelect(decoded, 1, tensor(placeOf, [columns], 'u32'))
  })
}
