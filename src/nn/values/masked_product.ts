/** Products with pruned weights that read what lives, at the places of a bitmask. Arithmetic: native/src/masked_product. */
import { scope, Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { groupWidth } from '../grid.ts'
import type { BitmaskValues } from './bitmask.ts'
import type { MaskedGridValues } from './masked_grid.ts'
import { fitsHalf } from './packed_weight.ts'
import type { Words } from './stored_words.ts'

/** As the native core names it. */
type MaskedForm = { floats: 'f32' | 'f16' | 'bf16' } | { bits: 4 | 8; group: number; wide: boolean }

export interface MaskedWeight {
  form: MaskedForm
  shape: readonly [number, number]
  /** u8: chunks of 64 columns, row after row. */
  stream: Tensor
  /** u32 [rows + 1]: where rows begin. */
  starts: Tensor
}

/** Columns that share the marks of a chunk. */
const CHUNK = 64

/**
 * Puts marks and what they mark together. Nothing for grids whose groups the chunks do not fit: of neighbours, with 32 columns,
 * a multiple of 64, or all of a row.
 *
 * @throws FormatError where marks and values do not agree
 */
export function maskedWeight(values: BitmaskValues | MaskedGridValues): MaskedWeight | undefined {
  const { shape, mask } = values
  const [rows, columns] = shape
  if (values.kind === 'bitmask')
    return scope(() => {
      const type = values.kept.dtype === 'f16' || values.kept.dtype === 'bf16' ? values.kept.dtype : 'f32'
      return weightOf({ floats: type }, shape, mask, [values.kept.cast(type)])
    })
  const width = groupWidth(values.grid, columns)
  const group = width >= columns ? Math.ceil(columns / CHUNK) * CHUNK : width
  const isPlain = values.groupOf.every((own, column) => own === Math.floor(column / width))
  if (!isPlain || (group !== 32 && group % CHUNK !== 0)) return undefined
  return scope(() => {
    const zeros = values.zeros.cast('f32')
    const wide = ![values.scales, zeros].every(fitsHalf)
    const bits = values.grid.bits <= 4 ? 4 : 8
    const parts = [values.codes, values.scales, zeros] as const
    return weightOf({ bits, group, wide }, [rows, columns], mask, parts)
  })
}

function weightOf(
  form: MaskedForm,
  shape: readonly [number, number],
  mask: Uint8Array,
  [kept, steps, zeros]: readonly [Tensor, Tensor?, Tensor?],
): MaskedWeight {
  const [stream, starts, length] = callNative((native) =>
    native.packMasked(form, mask, ...shape, kept.handle, steps?.handle, zeros?.handle),
  ) as [number, number, number]
  return {
    form,
    shape,
    stream: new Tensor(kept.kernels, stream, 'u8', [length]),
    starts: new Tensor(kept.kernels, starts, 'u32', [shape[0] + 1]),
  }
}

/** Numbers of the types of floats that live. */
const floatWords = { f16: 16, bf16: 17, f32: 32 }

export function maskedWords({ form, stream, starts }: MaskedWeight): Words {
  const living =
    'floats' in form ? [floatWords[form.floats], 0, 0] : [form.bits, form.group, Number(form.wide)]
  return [1, ...living, stream.handle, starts.handle]
}

/** The weight as numbers, f32 [rows, columns]. */
export function decodeMasked({ form, shape, stream, starts }: MaskedWeight): Tensor {
  const handle = callNative((native) => native.decodeMasked(form, stream.handle, starts.handle, shape[1]))
  return new Tensor(stream.kernels, handle, 'f32', shape)
}
