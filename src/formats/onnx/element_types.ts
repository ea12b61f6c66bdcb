/** The element types of ONNX tensors, in the words of safetensors: number in the file, bits, and where loose numbers stand. */

/** Fields of TensorProto that hold numbers one by one, where `raw_data` does not hold them all. */
export const numberFields = { float: 4, int32: 5, int64: 7, double: 10, uint64: 11 } as const
export type NumberField = (typeof numberFields)[keyof typeof numberFields]

export interface ElementType {
  /** TensorProto.DataType. */
  readonly id: number
  readonly name: string
  /** Of one element; types of less than a byte are packed from the lowest bit on. */
  readonly bits: number
  readonly numbers: NumberField
}

const { float, int32, int64, double, uint64 } = numberFields
const table: readonly (readonly [id: number, name: string, bits: number, numbers: NumberField])[] = [
  [1, 'F32', 32, float],
  [2, 'U8', 8, int32],
  [3, 'I8', 8, int32],
  [4, 'U16', 16, int32],
  [5, 'I16', 16, int32],
  [6, 'I32', 32, int32],
  [7, 'I64', 64, int64],
  [9, 'BOOL', 8, int32],
  [10, 'F16', 16, int32],
  [11, 'F64', 64, double],
  [12, 'U32', 32, uint64],
  [13, 'U64', 64, uint64],
  [14, 'C64', 64, float],
  [15, 'C128', 128, double],
  [16, 'BF16', 16, int32],
  [17, 'F8_E4M3', 8, int32],
  [18, 'F8_E4M3FNUZ', 8, int32],
  [19, 'F8_E5M2', 8, int32],
  [20, 'F8_E5M2FNUZ', 8, int32],
  [21, 'U4', 4, int32],
  [22, 'I4', 4, int32],
  [23, 'F4', 4, int32],
  [24, 'F8_E8M0', 8, int32],
  [25, 'U2', 2, int32],
  [26, 'I2', 2, int32],
]
const types: readonly ElementType[] = table.map(([id, name, bits, numbers]) => ({ id, name, bits, numbers }))
const byId = new Map(types.map((type) => [type.id, type]))
const byName = new Map(types.map((type) => [type.name, type]))

/** Texts, which have no size of their own: listed, never read. */
export const TEXTS = 'STRING'
const textsId = 8

export const elementTypeOf = (name: string): ElementType | undefined => byName.get(name)

/** Its word; `TYPE_27` for a number that is not known. */
export const nameOfType = (id: number): string =>
  byId.get(id)?.name ?? (id === textsId ? TEXTS : `TYPE_${id}`)

/** Bytes of `count` elements, of which the last byte may hold fewer than fit. */
export function elementBytes({ bits }: ElementType, count: number): number | undefined {
  // In steps of 8 elements, since count * bits may exceed 2^53.
  const bytes = Math.floor(count / 8) * bits + Math.ceil(((count % 8) * bits) / 8)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
