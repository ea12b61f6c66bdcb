/** Elements of safetensors as numbers, of every type but complex ones. Works without the native core. */
import { FormatError, printable } from '../../tensor/errors.ts'
import { bf16ToNumber, f16ToNumber } from '../half.ts'
import { decodeSmallFloats, isSmallFloat } from '../small_floats.ts'
import { dtypeBits } from './dtypes.ts'

type Read = (view: DataView, at: number) => number

const wideFloats: Readonly<Record<string, Read>> = {
  F64: (view, at) => view.getFloat64(at, true),
  F32: (view, at) => view.getFloat32(at, true),
  F16: (view, at) => f16ToNumber(view.getUint16(at, true)),
  BF16: (view, at) => bf16ToNumber(view.getUint16(at, true)),
}
const integers: Readonly<Record<string, Read>> = {
  I64: (view, at) => Number(view.getBigInt64(at, true)),
  U64: (view, at) => Number(view.getBigUint64(at, true)),
  I32: (view, at) => view.getInt32(at, true),
  U32: (view, at) => view.getUint32(at, true),
  I16: (view, at) => view.getInt16(at, true),
  U16: (view, at) => view.getUint16(at, true),
  I8: (view, at) => view.getInt8(at),
  U8: (view, at) => view.getUint8(at),
  // The writer stores 0 and 1; any other byte counts as true.
  BOOL: (view, at) => (view.getUint8(at) === 0 ? 0 : 1),
}

/** Whether the type is a float: F64 to F4. */
export const isFloatType = (type: string): boolean => Object.hasOwn(wideFloats, type) || isSmallFloat(type)
/** Whether the type is of whole numbers or truth values: I64 to U8, BOOL. */
export const isIntegerType = (type: string): boolean => Object.hasOwn(integers, type)

/**
 * `count` elements of any of these types from element `start` on, in f32: rounded where the type is wider.
 *
 * @throws FormatError for a type that has no numbers, RangeError where the bytes are too few.
 * @example decodeToF32('F8_E4M3', archive.read('w'), 4096)
 */
export function decodeToF32(type: string, bytes: Uint8Array, count: number, start = 0): Float32Array {
  if (isSmallFloat(type)) return decodeSmallFloats(type, bytes, count, start)
  const values = new Float32Array(count)
  fill(values, type, bytes, start)
  return values
}

/**
 * `count` whole numbers from element `start` on, exact; truth values are 0 and 1.
 *
 * @throws FormatError for a type of other numbers, and for a number past 2^53.
 * @example decodeIntegers('I8', archive.read('w'), 4096)
 */
export function decodeIntegers(type: string, bytes: Uint8Array, count: number, start = 0): Float64Array {
  if (!isIntegerType(type)) throw needs('whole numbers', type)
  const values = new Float64Array(count)
  fill(values, type, bytes, start)
  if (dtypeBits[type] === 64) {
    const large = values.find((value) => !Number.isSafeInteger(value))
    if (large !== undefined)
      throw new FormatError(
        `${type}: whole numbers below 2^53 are needed, got ${large}; the file is damaged`,
        {
          code: 'PARE_E_INTEGER',
          facts: { type, value: large },
        },
      )
  }
  return values
}

function fill(values: Float32Array | Float64Array, type: string, bytes: Uint8Array, start: number): void {
  const read = Object.hasOwn(integers, type)
    ? integers[type]
    : Object.hasOwn(wideFloats, type)
      ? wideFloats[type]
      : undefined
  if (!read) throw needs('numbers', type)
  const size = dtypeBits[type]! / 8
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (type === 'F16' || type === 'BF16') {
    const table = halves[type]()
    for (let i = 0; i < values.length; i++) values[i] = table[view.getUint16(2 * (start + i), true)]!
  } else for (let i = 0; i < values.length; i++) values[i] = read(view, (start + i) * size)
}

/** The values of all codes of 16 bits, made on the first call: many times faster than to compute each. */
const halves = { F16: tableOf(f16ToNumber), BF16: tableOf(bf16ToNumber) }

function tableOf(toNumber: (bits: number) => number): () => Float32Array {
  let table: Float32Array | undefined
  return () => {
    table ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => toNumber(bits))
    return table
  }
}

const needs = (what: string, type: string) =>
  new FormatError(`${what} are needed, got the type ${printable(type)}; read its bytes`, {
    code: 'PARE_E_ELEMENT_TYPE',
    facts: { type },
  })
