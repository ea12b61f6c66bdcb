/**
 * Typed values of GGUF metadata. The type in the file is part of the value, so that what is read and written
 * again has the same bytes: u32 stays u32 where i32 would hold the number too.
 */

/** Numbers in the file, in its own order; the array type (9) is not an element of arrays. */
export const scalarTypes = [
  ['u8', 0, 1],
  ['i8', 1, 1],
  ['u16', 2, 2],
  ['i16', 3, 2],
  ['u32', 4, 4],
  ['i32', 5, 4],
  ['f32', 6, 4],
  ['bool', 7, 1],
  ['string', 8, 8],
  ['u64', 10, 8],
  ['i64', 11, 8],
  ['f64', 12, 8],
] as const satisfies readonly (readonly [name: string, id: number, leastBytes: number])[]

export const ARRAY_TYPE = 9

export type ScalarType = (typeof scalarTypes)[number][0]

/** Arrays of up to 32 bits and of floats are typed arrays, 64-bit integers arrays of bigint. */
export interface ArrayTypes {
  u8: Uint8Array
  i8: Int8Array
  u16: Uint16Array
  i16: Int16Array
  u32: Uint32Array
  i32: Int32Array
  f32: Float32Array
  f64: Float64Array
  u64: BigUint64Array
  i64: BigInt64Array
  bool: boolean[]
  string: string[]
}

type NumberType = 'u8' | 'i8' | 'u16' | 'i16' | 'u32' | 'i32' | 'f32' | 'f64'

export type GgufArray = {
  [Element in ScalarType]: { type: 'array'; element: Element; value: ArrayTypes[Element] }
}[ScalarType]

export type GgufValue =
  | { type: NumberType; value: number }
  /** A number where it is exact (up to 2^53), else a bigint. */
  | { type: 'u64' | 'i64'; value: number | bigint }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | GgufArray

export type GgufMetadata = ReadonlyMap<string, GgufValue>

const idOf = new Map<string, number>(scalarTypes.map(([name, id]) => [name, id]))
const byId = new Map<number, { name: ScalarType; leastBytes: number }>(
  scalarTypes.map(([name, id, leastBytes]) => [id, { name, leastBytes }]),
)

export const scalarId = (name: ScalarType): number => idOf.get(name)!
/** Name and least size in the file (a string has at least its length) of a type number. */
export const scalarOfId = (id: number) => byId.get(id)

/** Short forms for writing: `gguf.u32(5)`, `gguf.strings(['a'])`. */
export const gguf = {
  u32: (value: number): GgufValue => ({ type: 'u32', value }),
  i32: (value: number): GgufValue => ({ type: 'i32', value }),
  f32: (value: number): GgufValue => ({ type: 'f32', value }),
  u64: (value: number | bigint): GgufValue => ({ type: 'u64', value }),
  bool: (value: boolean): GgufValue => ({ type: 'bool', value }),
  string: (value: string): GgufValue => ({ type: 'string', value }),
  strings: (value: string[]): GgufValue => ({ type: 'array', element: 'string', value }),
  i32s: (value: readonly number[]): GgufValue => ({
    type: 'array',
    element: 'i32',
    value: Int32Array.from(value),
  }),
  f32s: (value: readonly number[]): GgufValue => ({
    type: 'array',
    element: 'f32',
    value: Float32Array.from(value),
  }),
}
