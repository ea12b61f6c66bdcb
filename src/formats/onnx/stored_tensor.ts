/** Where a tensor of an ONNX file has its bytes: `raw_data`, loose numbers, or another file. Nothing of them is read here. */
import { printable } from '../../tensor/errors.ts'
import { elementCount } from '../archive.ts'
import type { ByteSource } from '../file.ts'
import { type ElementType, elementBytes, elementTypeOf, nameOfType, numberFields } from './element_types.ts'
import type { OnnxTensor } from './graph.ts'
import { ProtobufFile } from './protobuf.ts'
import { type Fields, type Span, type Whole, wire } from './protobuf_fields.ts'

export type TensorStorage =
  | { readonly kind: 'raw'; readonly bytes: Span }
  /** Fields of numbers that must be decoded, `numbers` of them in all. */
  | {
      readonly kind: 'numbers'
      readonly field: number
      readonly fields: readonly Span[]
      readonly numbers: number
    }
  | {
      readonly kind: 'external'
      readonly location: string
      readonly offset: number
      /** The fields of `external_data`, for those who write the tensor elsewhere. */
      readonly fields: readonly Span[]
    }
  /** Texts, or a type that nobody can size: `bytes` in the file. */
  | { readonly kind: 'unread'; readonly bytes: number; readonly external: boolean }

/** Runtimes compute with 8 or so. */
const mostAxes = 64

/** What `readTensor` gathers before it decides. */
interface Gathered {
  shape: number[]
  typeId: number
  name: string
  raw?: Span
  texts: number
  external: boolean
  readonly entries: Map<string, string>
  readonly entryFields: Span[]
  readonly numbers: Map<number, Numbers>
}

interface Numbers {
  /** Runs of fields without others between them. */
  readonly fields: { start: number; end: number }[]
  /** How many there are at least and at most: a packed varint has 1 to 10 bytes. */
  least: number
  most: number
  /** The content, where all stand in one packed field. */
  packed?: Span | undefined
}

/** @throws FormatError where shape, type and bytes do not fit each other. */
export function readTensor(file: ProtobufFile, span: Span): { tensor: OnnxTensor; storage: TensorStorage } {
  const found: Gathered = {
    shape: [],
    typeId: 0,
    name: '',
    texts: 0,
    external: false,
    entries: new Map(),
    entryFields: [],
    numbers: new Map(),
  }
  const fields = file.message(span)
  while (fields.next()) gather(file, fields, found)
  const type = nameOfType(found.typeId)
  const tensor = { name: found.name, type, shape: found.shape }
  const refuse = (what: string) =>
    file.fail(`tensor ${printable(found.name)} ${what}; it is damaged`, { tensor: found.name })
  const count = elementCount(found.shape)
  if (count === undefined) throw refuse(`has the impossible shape [${found.shape}]`)
  const element = elementTypeOf(type)
  if (!element) {
    const loose = [...found.numbers.values()].flatMap((numbers) => numbers.fields)
    const bytes = [...loose, ...(found.raw ? [found.raw] : [])].reduce(
      (sum, { start, end }) => sum + end - start,
      0,
    )
    return { tensor, storage: { kind: 'unread', bytes: found.texts + bytes, external: found.external } }
  }
  const bytes = elementBytes(element, count)
  if (bytes === undefined) throw refuse(`has the impossible shape [${found.shape}]`)
  return { tensor, storage: storageOf(found, element, bytes, refuse) }
}

function gather(file: ProtobufFile, fields: Fields, found: Gathered): void {
  switch (fields.number) {
    case 1:
      fields.eachWhole((size) => found.shape.push(Number(size)))
      if (found.shape.length > mostAxes)
        throw file.fail(`has a tensor of more than ${mostAxes} axes; it is damaged`)
      return
    case 2:
      found.typeId = fields.natural('the type of a tensor')
      return
    case 3:
      throw file.fail('holds a tensor in segments, which no reader of ONNX takes; write it anew')
    case 6:
      found.texts += fields.end - fields.valueStart
      return
    case 8:
      found.name = fields.text()
      return
    case 9:
      found.raw = fields.value()
      return
    case 13: {
      const { key, value } = readPair(file, fields.value())
      found.entries.set(key, value)
      found.entryFields.push(fields.field())
      return
    }
    case 14:
      found.external = fields.whole() === 1
      return
    case numberFields.float:
    case numberFields.int32:
    case numberFields.int64:
    case numberFields.double:
    case numberFields.uint64:
      gatherNumbers(file, fields, found.numbers)
  }
}

/** Key and value of StringStringEntryProto. */
export function readPair(file: ProtobufFile, span: Span): { key: string; value: string } {
  const pair = { key: '', value: '' }
  const fields = file.message(span)
  while (fields.next()) {
    if (fields.number === 1) pair.key = fields.text()
    else if (fields.number === 2) pair.value = fields.text()
  }
  return pair
}

/** Bytes of one number, of those that have a fixed size. */
const fixedBytes = new Map<number, number>([
  [numberFields.float, 4],
  [numberFields.double, 8],
])

function gatherNumbers(file: ProtobufFile, fields: Fields, all: Gathered['numbers']): void {
  const numbers = all.get(fields.number) ?? { fields: [], least: 0, most: 0 }
  all.set(fields.number, numbers)
  const size = fixedBytes.get(fields.number)
  const isPacked = fields.type === wire.bytes
  const length = isPacked ? fields.end - fields.valueStart : undefined
  numbers.packed = isPacked && numbers.most === 0 ? fields.value() : undefined
  if (length === undefined) {
    const needed = size === undefined ? wire.varint : size === 4 ? wire.fixed32 : wire.fixed64
    if (fields.type !== needed)
      throw file.fail('holds a number of a tensor in the wrong wire type; it is damaged')
    numbers.least++
    numbers.most++
  } else if (size === undefined) {
    numbers.least += Math.ceil(length / 10)
    numbers.most += length
  } else {
    if (length % size !== 0) throw file.fail('packs the numbers of a tensor in no whole bytes; it is damaged')
    numbers.least += length / size
    numbers.most += length / size
  }
  const last = numbers.fields.at(-1)
  if (last?.end === fields.start) last.end = fields.end
  else numbers.fields.push({ start: fields.start, end: fields.end })
}

function storageOf(
  found: Gathered,
  element: ElementType,
  bytes: number,
  refuse: (what: string) => Error,
): TensorStorage {
  if (found.external) return externalStorage(found, bytes, refuse)
  const held = [...found.numbers.keys()].filter((field) => found.numbers.get(field)!.most > 0)
  if (held.length + (found.raw && found.raw.end > found.raw.start ? 1 : 0) > 1)
    throw refuse('holds its data in two fields')
  const [field] = held
  if (field === undefined) {
    const { start, end } = found.raw ?? { start: 0, end: 0 }
    if (end - start !== bytes)
      throw refuse(`holds ${end - start} bytes where ${element.name} of shape [${found.shape}] has ${bytes}`)
    return { kind: 'raw', bytes: { start, end } }
  }
  if (field !== element.numbers)
    throw refuse(`holds ${element.name} in field ${field}, not in ${element.numbers}`)
  const { fields, least, most, packed } = found.numbers.get(field)!
  // Complex numbers are two, and what has less than a byte stands in whole ones.
  const numberBits = element.name.startsWith('C') ? element.bits / 2 : Math.max(8, element.bits)
  const numbers = bytes / (numberBits / 8)
  if (least > numbers || most < numbers)
    throw refuse(
      `holds ${least === most ? least : `${least} to ${most}`} numbers where shape [${found.shape}] needs ${numbers}`,
    )
  if (packed && fixedBytes.has(field)) return { kind: 'raw', bytes: packed }
  return { kind: 'numbers', field, fields, numbers }
}

function externalStorage(
  { entries, entryFields }: Gathered,
  bytes: number,
  refuse: (what: string) => Error,
): TensorStorage {
  const location = entries.get('location')
  if (location === undefined) throw refuse('is in another file and does not say in which')
  const position = (key: string): number | undefined => {
    const text = entries.get(key)
    if (text === undefined) return undefined
    const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
    if (!Number.isSafeInteger(value)) throw refuse(`has the ${key} ${printable(text)} in another file`)
    return value
  }
  const length = position('length')
  if (length !== undefined && length !== bytes)
    throw refuse(`has ${length} bytes in another file where its shape and type need ${bytes}`)
  return { kind: 'external', location, offset: position('offset') ?? 0, fields: entryFields }
}

/**
 * The little-endian elements of numbers that stand one by one.
 *
 * @throws FormatError where there are more or fewer of them than the shape needs.
 */
export function decodeNumbers(
  source: ByteSource,
  { name, type, shape }: OnnxTensor,
  storage: TensorStorage & { kind: 'numbers' },
): Uint8Array {
  const element = elementTypeOf(type)!
  const bytes = new Uint8Array(elementBytes(element, elementCount(shape)!)!)
  const file = new ProtobufFile(source, Number.POSITIVE_INFINITY)
  const refuse = (found: string) =>
    file.fail(
      `tensor ${printable(name)} holds ${found} numbers, its shape needs ${storage.numbers}; it is damaged`,
      {
        tensor: name,
      },
    )
  const size = bytes.length / storage.numbers
  let done = 0
  const take = (value: Whole): void => {
    if (done + size > bytes.length) throw refuse('more')
    put(bytes, done, size, value)
    done += size
  }
  for (const span of storage.fields) {
    const fields = file.part(span)
    while (fields.next()) {
      if (!fixedBytes.has(storage.field)) fields.eachWhole(take)
      else {
        const values = file.bytes({ start: fields.valueStart, end: fields.end })
        if (values.length > bytes.length - done) throw refuse('more')
        bytes.set(values, done)
        done += values.length
      }
    }
  }
  if (done !== bytes.length) throw refuse(String(done / size))
  return bytes
}

/** The low bytes of a number in two's complement. */
function put(bytes: Uint8Array, at: number, size: number, value: Whole): void {
  let rest = typeof value === 'number' && size <= 4 ? value : BigInt.asUintN(64, BigInt(value))
  for (let i = 0; i < size; i++) {
    if (typeof rest === 'number') bytes[at + i] = rest >> (8 * i)
    else {
      bytes[at + i] = Number(rest & 255n)
      rest >>= 8n
    }
  }
}
