/** Torch files for tests: pickles put together operation by operation, and the two containers around them. */
import { crc32 } from 'node:zlib'

const u16 = (value: number) => [value & 255, (value >> 8) & 255]
const u32 = (value: number) => [...u16(value & 0xffff), ...u16(value >>> 16)]
const i64 = (value: number) => [...new Uint8Array(BigInt64Array.of(BigInt(value)).buffer)]

export type Part = number | readonly Part[]
export const bytesOf = (...parts: Part[]): Uint8Array => {
  const flat = (part: Part): number[] => (typeof part === 'number' ? [part] : part.flatMap(flat))
  return Uint8Array.from(parts.flatMap(flat))
}

export const text = (value: string): Part => {
  const utf8 = [...new TextEncoder().encode(value)]
  return [0x58, u32(utf8.length), utf8]
}
/** A text of Python 2. */
export const oldText = (value: string): Part => [0x55, value.length, [...Buffer.from(value, 'latin1')]]
export const whole = (value: number): Part => [0x4a, u32(value >>> 0)]
export const long = (value: bigint, bytes: number): Part => [
  0x8a,
  bytes,
  Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 255n)),
]
export const none: Part = 0x4e
export const tuple = (...items: Part[]): Part => [0x28, items, 0x74]
export const list = (...items: Part[]): Part => [0x5d, 0x28, items, 0x65]
export const dict = (...pairs: [Part, Part][]): Part => [0x7d, 0x28, pairs, 0x75]
export const global = (name: string): Part => {
  const cut = name.lastIndexOf('.')
  const ascii = (line: string) => [...Buffer.from(`${line}\n`, 'latin1')]
  return [0x63, ascii(name.slice(0, cut)), ascii(name.slice(cut + 1))]
}
export const call = (name: string, ...args: Part[]): Part => [global(name), tuple(...args), 0x52]
export const put = (index: number): Part => [0x71, index]
export const get = (index: number): Part => [0x68, index]
export const pickle = (...parts: Part[]): Part => [0x80, 2, parts, 0x2e]

export interface StorageOf {
  key?: string
  type?: string
  count?: number
  view?: Part
  /** Elements after `count`: one more in old streams. */
  old?: boolean
}
export const storage = ({
  key = '0',
  type = 'FloatStorage',
  count = 6,
  view = none,
  old = true,
}: StorageOf = {}): Part => [
  tuple(text('storage'), global(`torch.${type}`), text(key), text('cpu'), whole(count), old ? view : []),
  0x51,
]
export const tensor = (of: Part, start: number, shape: readonly number[], strides: readonly number[]): Part =>
  call(
    'torch._utils._rebuild_tensor_v2',
    of,
    whole(start),
    tuple(...shape.map(whole)),
    tuple(...strides.map(whole)),
    0x89,
    call('collections.OrderedDict'),
  )

export interface OldStream {
  magic?: bigint
  protocol?: number
  littleEndian?: Part
  keys?: Part
}
/** @param data the elements of each storage, by key in the order of the file */
export function oldStream(
  object: Part,
  data: Readonly<Record<string, Uint8Array>> = {},
  itemBytes = 4,
  { magic = 0x1950a86a20f9469cfc6cn, protocol = 1001, littleEndian = 0x88, keys }: OldStream = {},
): Uint8Array {
  return bytesOf(
    pickle(long(magic, 10)),
    pickle(whole(protocol)),
    pickle(dict([text('protocol_version'), whole(1001)], [text('little_endian'), littleEndian])),
    pickle(object),
    pickle(keys ?? list(...Object.keys(data).map(text))),
    Object.values(data).map((bytes) => [i64(bytes.length / itemBytes), [...bytes]]),
  )
}

/** A zip archive that stores its members. */
export function storedZip(members: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const parts: Part[] = []
  const directory: Part[] = []
  let at = 0
  for (const [name, content] of Object.entries(members)) {
    const bytes = [...content]
    const title = [...Buffer.from(name)]
    const sizes = [u32(crc32(content)), u32(bytes.length), u32(bytes.length)]
    // An extra field of 5 bytes, in the local header only.
    const local = bytesOf(
      u32(0x04034b50),
      u16(0),
      u16(0),
      u16(0),
      u32(0),
      sizes,
      u16(title.length),
      u16(5),
      title,
      [70, 66, 1, 0, 90],
    )
    parts.push([...local], bytes)
    directory.push(
      u32(0x02014b50),
      u16(0),
      u16(0),
      u16(0),
      u16(0),
      u32(0),
      sizes,
      u16(title.length),
      u16(0),
      u16(0),
      u16(0),
      u16(0),
      u32(0),
      u32(at),
      title,
    )
    at += local.length + bytes.length
  }
  const count = Object.keys(members).length
  const bytes = bytesOf(directory)
  return bytesOf(
    parts,
    [...bytes],
    u32(0x06054b50),
    u16(0),
    u16(0),
    u16(count),
    u16(count),
    u32(bytes.length),
    u32(at),
    u16(0),
  )
}

export const zipFile = (
  object: Part,
  data: Readonly<Record<string, Uint8Array>> = {},
  more: Readonly<Record<string, Uint8Array>> = {},
): Uint8Array =>
  storedZip({
    'tiny/data.pkl': bytesOf(pickle(object)),
    ...Object.fromEntries(Object.entries(data).map(([key, bytes]) => [`tiny/data/${key}`, bytes])),
    ...more,
  })

export const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer)
