/** Reads the metadata of a GGUF file: keys with values, of which arrays of strings are made when they are asked for. */
import { printable } from '../../tensor/errors.ts'
import type { Cursor } from './cursor.ts'
import {
  ARRAY_TYPE,
  type ArrayTypes,
  type GgufArray,
  type GgufValue,
  type ScalarType,
  scalarOfId,
} from './metadata.ts'
import type { StringBytes } from './string_bytes.ts'

const MOST_KEYS = 1 << 16
/** Of texts and truth values, which are read one by one: four times the largest lists of merges. */
const MOST_TEXTS = 1 << 21
const LONGEST_KEY = 65_535
/** A key-value: key length, one byte of key, type, one byte of value. */
const LEAST_PAIR_BYTES = 8 + 1 + 4 + 1

/** The key-values that follow the counts. @throws FormatError for a key that stands twice, and for unknown types */
export function readMetadata(cursor: Cursor): Map<string, GgufValue> {
  const count = cursor.count('metadata values', LEAST_PAIR_BYTES)
  if (count > MOST_KEYS)
    throw cursor.fail(`promises ${count} metadata values, at most ${MOST_KEYS} are read; it is damaged`)
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < count; i++) {
    const key = cursor.string('a metadata key', LONGEST_KEY)
    if (key === '') throw cursor.fail('holds a metadata value without a key; it is damaged')
    if (metadata.has(key))
      throw cursor.fail(`metadata key ${printable(key)} stands twice; it is damaged`, { key })
    metadata.set(key, readValue(cursor, key))
  }
  return metadata
}

function readValue(cursor: Cursor, key: string): GgufValue {
  const id = cursor.u32()
  if (id === ARRAY_TYPE) return readArray(cursor, key)
  const type = scalarOfId(id)?.name
  switch (type) {
    case undefined:
      throw cursor.fail(`metadata key ${printable(key)} has the unknown value type ${id}; it is damaged`, {
        key,
      })
    case 'bool':
      return { type, value: readBool(cursor, key) }
    case 'string':
      return { type, value: cursor.string(`the value of ${printable(key)}`) }
    case 'u64':
    case 'i64': {
      const exact = cursor[type]()
      const number = Number(exact)
      return { type, value: Number.isSafeInteger(number) ? number : exact }
    }
    default:
      return { type, value: cursor[type]() }
  }
}

function readBool(cursor: Cursor, key: string): boolean {
  const byte = cursor.u8()
  if (byte > 1)
    throw cursor.fail(`metadata key ${printable(key)} holds ${byte} where 0 or 1 must stand; it is damaged`, {
      key,
    })
  return byte === 1
}

function readArray(cursor: Cursor, key: string): GgufValue {
  const id = cursor.u32()
  const element = scalarOfId(id)
  if (!element)
    throw cursor.fail(
      id === ARRAY_TYPE
        ? `metadata key ${printable(key)} is an array of arrays, which nothing reads; it is damaged`
        : `metadata key ${printable(key)} is an array of the unknown type ${id}; it is damaged`,
      { key },
    )
  const count = cursor.count(`elements of ${printable(key)}`, element.leastBytes)
  if ((element.name === 'bool' || element.name === 'string') && count > MOST_TEXTS)
    throw cursor.fail(
      `metadata key ${printable(key)} promises ${count} elements, at most ${MOST_TEXTS} are read; it is damaged`,
      { key },
    )
  if (element.name === 'string') return stringArray(cursor.strings(`an element of ${printable(key)}`, count))
  return {
    type: 'array',
    element: element.name,
    value: readElements(cursor, key, element.name, count),
  } as GgufArray
}

/** The strings are made when they are first asked for: a model is opened without its vocabulary. */
function stringArray(bytes: StringBytes): GgufArray {
  let made: string[] | undefined
  return {
    type: 'array',
    element: 'string',
    get value() {
      made ??= bytes.toArray()
      return made
    },
  }
}

const numberArrays = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  f64: Float64Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
}

function readElements(
  cursor: Cursor,
  key: string,
  element: Exclude<ScalarType, 'string'>,
  count: number,
): ArrayTypes[typeof element] {
  if (element === 'bool') return Array.from({ length: count }, () => readBool(cursor, key))
  const Elements = numberArrays[element]
  // `bytes` copies, so that the typed array starts at an aligned position.
  return new Elements(cursor.bytes(count * Elements.BYTES_PER_ELEMENT).buffer as ArrayBuffer)
}
