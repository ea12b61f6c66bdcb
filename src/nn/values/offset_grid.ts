/** Evenly spaced levels that begin anywhere: value = scale * code + offset, as MLX and ggml's Q4_1 store them. */
import { scope, Tensor, tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { type AffineValues, type GridForm, groupWidth } from '../grid.ts'

export interface OffsetValues {
  kind: 'offset'
  /** A form without zeros: `symmetric` means nothing. */
  form: Omit<GridForm, 'symmetric'>
  /** u8 [rows, columns] */
  codes: Tensor
  /** f32 [rows, groups], exactly representable in the scale type. */
  scales: Tensor
  /** f32 [rows, groups], added; exactly representable in the scale type. */
  offsets: Tensor
  /** Group of each column. */
  groupOf: Uint32Array
}

/** f32 [rows, columns]; the product is rounded once, and the sum once. */
export function decodeOffsets({ codes, scales, offsets, groupOf }: OffsetValues): Tensor {
  return scope(() => {
    const groups = tensor(groupOf, [groupOf.length], 'u32')
    // The kernel subtracts.
    const { handle: subtracted } = offsets.neg()
    const handle = callNative((native) =>
      native.decodeGrid(codes.handle, groups.handle, scales.handle, undefined, 0, subtracted, undefined),
    )
    return new Tensor(codes.kernels, handle, 'f32', codes.shape)
  })
}

/** Codes, and a scale and an offset a group. */
export function bitsOfOffsets({ form, codes }: OffsetValues): number {
  const [rows, columns] = codes.shape as [number, number]
  const groups = Math.ceil(columns / groupWidth(form, columns))
  return rows * columns * form.bits + rows * groups * 2 * (form.scaleType === 'f32' ? 32 : 16)
}

/**
 * The same within rounding as value = scale * (code - zero), zero = -offset / scale. Nothing where a scale is 0 beside an offset, or
 * so small that a zero is no f32.
 */
export function gridOfOffsets({
  form,
  codes,
  scales,
  offsets,
  groupOf,
}: OffsetValues): AffineValues | undefined {
  const [steps, added] = [scales, offsets].map((x) => x.toArray() as Float32Array) as [
    Float32Array,
    Float32Array,
  ]
  const zeros = steps.map((step, group) => (step === 0 ? 0 : -added[group]! / step))
  const fits = zeros.every(
    (zero, group) => Number.isFinite(zero) && (steps[group] !== 0 || added[group] === 0),
  )
  if (!fits) return undefined
  const grid = { ...form, symmetric: false }
  return { kind: 'grid', grid, codes, scales, zeros: tensor(zeros, scales.shape), groupOf }
}
