import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FormatError, OptionError } from '../../tensor/errors.ts'
import type { TensorInfo } from '../archive.ts'
import { bytesSource } from '../file.ts'
import { dtypeBits, dtypeBytes } from './dtypes.ts'
import { INDEX_FILE, openSafetensors, openSources } from './safetensors.ts'
import { createSafetensors, createShardedSafetensors } from './writer.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-safetensors-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** A file with the given header text and `dataBytes` zeros. */
function fileOf(header: string, dataBytes: number, announced = header.length): Uint8Array {
  const bytes = new Uint8Array(8 + header.length + dataBytes)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(announced), true)
  bytes.set(new TextEncoder().encode(header), 8)
  return bytes
}
const open = (bytes: Uint8Array) => openSources([bytesSource('t.safetensors', bytes)])
const openHeader = (header: unknown, dataBytes: number) => open(fileOf(JSON.stringify(header), dataBytes))
const f32 = (shape: number[], begin: number, end: number) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
})

test('one F32 of one element is the 68 bytes that the format describes', () => {
  const path = join(folder, 'a.safetensors')
  const writer = createSafetensors(path, [{ name: 'a', type: 'F32', shape: [1] }], { metadata: {} })
  writer.append('a', Uint8Array.of(1, 2, 3, 4))
  writer.finish()
  const bytes = readFileSync(path)
  expect(bytes).toHaveLength(68)
  expect(bytes.readBigUInt64LE(0)).toBe(56n)
  expect(bytes.toString('latin1', 8, 64)).toBe('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  ')
  expect([...bytes.subarray(64)]).toEqual([1, 2, 3, 4])
})
test('the metadata says format pt unless something else is given', () => {
  const path = join(folder, 'a.safetensors')
  createSafetensors(path, []).finish()
  expect([...openSafetensors(path).metadata]).toEqual([['format', 'pt']])
})
test('wide types come first, then names, so that every tensor is aligned to its items', () => {
  const path = join(folder, 'a.safetensors')
  const tensors = Object.keys(dtypeBits).flatMap((type) => [
    { name: `${type}.b`, type, shape: [8] },
    { name: `${type}.a`, type, shape: [8] },
  ])
  const writer = createSafetensors(path, tensors)
  for (const { name, type } of tensors) writer.append(name, new Uint8Array(dtypeBytes(type, 8)!))
  writer.finish()
  const archive = openSafetensors(path)
  const order = [...archive.tensors.keys()]
  expect(order.slice(0, 4)).toEqual(['U64.a', 'U64.b', 'I64.a', 'I64.b'])
  expect(order.indexOf('BF16.a')).toBeLessThan(order.indexOf('F16.a'))
  for (const { type, offset } of archive.tensors.values())
    if (dtypeBits[type]! >= 8) expect(offset % (dtypeBits[type]! / 8)).toBe(0)
  archive.close()
})

const tensorList = fc.uniqueArray(
  fc.record({
    name: fc.string({ minLength: 1, maxLength: 12 }),
    type: fc.constantFrom(...Object.keys(dtypeBits)),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
  }),
  { selector: (t) => t.name, maxLength: 8 },
)
/** Sub-byte types need whole bytes, and the name of the metadata is taken. */
const storable = ({ name, type, shape }: TensorInfo) =>
  name !== '__metadata__' &&
  dtypeBytes(
    type,
    shape.reduce((a, b) => a * b, 1),
  ) !== undefined

test('names, types, shapes (scalars and empty ones too) and bytes come back, one file or many', () => {
  fc.assert(
    fc.property(tensorList, fc.integer({ min: 1, max: 200 }), fc.boolean(), (list, maxShardBytes, parts) => {
      const tensors = list.filter(storable)
      const data = new Map(
        tensors.map(({ name, type, shape }, i) => [
          name,
          Uint8Array.from(
            {
              length: dtypeBytes(
                type,
                shape.reduce((a, b) => a * b, 1),
              )!,
            },
            (_, k) => (31 * k + 7 * i) & 255,
          ),
        ]),
      )
      const at = mkdtempSync(join(folder, 'case-'))
      const writer = createShardedSafetensors(at, tensors, { maxShardBytes })
      for (const [name, bytes] of [...data].reverse()) {
        const half = parts ? bytes.length >> 1 : bytes.length
        writer.append(name, bytes.subarray(0, half))
        writer.append(name, bytes.subarray(half))
      }
      writer.finish()
      const archive = openSafetensors(at)
      expect(archive.tensors.size).toBe(tensors.length)
      for (const { name, type, shape } of tensors) {
        expect(archive.tensors.get(name)).toMatchObject({ name, type, shape })
        expect(archive.read(name)).toEqual(data.get(name))
      }
      archive.close()
      expect(readdirSync(at).every((file) => !file.endsWith('.part'))).toBe(true)
    }),
    { numRuns: 60 },
  )
})
test('rows are slices of the first axis', () => {
  const path = join(folder, 'a.safetensors')
  const writer = createSafetensors(path, [{ name: 'w', type: 'U8', shape: [3, 2, 2] }])
  writer.append(
    'w',
    Uint8Array.from({ length: 12 }, (_, i) => i),
  )
  writer.finish()
  const archive = openSafetensors(path)
  expect([...archive.readRows('w', 1, 3)]).toEqual([4, 5, 6, 7, 8, 9, 10, 11])
  expect(archive.readRows('w', 2, 2)).toHaveLength(0)
  for (const [start, end] of [
    [0, 4],
    [-1, 1],
    [2, 1],
    [0.5, 1],
  ])
    expect(() => archive.readRows('w', start!, end!)).toThrow(OptionError)
  expect(() => archive.read('x')).toThrow(/no such tensor/)
  archive.close()
})
test('shards are named, the index maps tensors to them, and its total counts tensor bytes', () => {
  const tensors = ['a', 'b', 'c'].map((name) => ({ name, type: 'F32', shape: [4] }))
  const writer = createShardedSafetensors(folder, tensors, { maxShardBytes: 32 })
  for (const { name } of tensors) writer.append(name, new Uint8Array(16))
  writer.finish()
  expect(JSON.parse(readFileSync(join(folder, INDEX_FILE), 'utf8'))).toEqual({
    metadata: { total_size: 48 },
    weight_map: {
      a: 'model-00001-of-00002.safetensors',
      b: 'model-00001-of-00002.safetensors',
      c: 'model-00002-of-00002.safetensors',
    },
  })
})
test('a missing, an incomplete and an oversized tensor are refused and leave no file', () => {
  const tensors = [{ name: 'a', type: 'F32', shape: [2] }]
  const start = () => createSafetensors(join(folder, 'a.safetensors'), tensors)
  expect(() => start().finish()).toThrow(/8 bytes are missing/)
  const half = start()
  half.append('a', new Uint8Array(4))
  expect(() => half.finish()).toThrow(/4 bytes are missing/)
  expect(() => start().append('a', new Uint8Array(9))).toThrow(OptionError)
  expect(() => start().append('b', new Uint8Array(1))).toThrow(/not announced/)
  start().abort()
  expect(readdirSync(folder)).toEqual([])
})
test('what cannot be stored is refused before a file is made', () => {
  const start = (...tensors: TensorInfo[]) => createSafetensors(join(folder, 'a'), tensors)
  const good = { name: 'a', type: 'F32', shape: [2] }
  expect(() => start(good, good)).toThrow(/taken/)
  expect(() => start({ ...good, type: 'Q4_K' })).toThrow(OptionError)
  expect(() => start({ ...good, type: 'F4', shape: [3] })).toThrow(OptionError)
  expect(() => start({ ...good, shape: [2 ** 30, 2 ** 30] })).toThrow(OptionError)
  expect(() => start({ ...good, name: '__metadata__' })).toThrow(OptionError)
  expect(() => createShardedSafetensors(folder, [good], { maxShardBytes: 0 })).toThrow(OptionError)
  expect(readdirSync(folder)).toEqual([])
})

test.each<[string, unknown, number]>([
  ['a hole', { a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12],
  ['an overlap', { a: f32([1], 0, 4), b: f32([1], 2, 6) }, 6],
  ['a late start', { a: f32([1], 4, 8) }, 8],
  ['trailing bytes', { a: f32([1], 0, 4) }, 5],
  ['a cut end', { a: f32([1], 0, 4) }, 3],
  ['offsets that do not fit the shape', { a: f32([2], 0, 4) }, 4],
  ['reversed offsets', { a: f32([1], 4, 0) }, 4],
  ['a negative size', { a: f32([-1], 0, 4) }, 4],
  ['a fractional size', { a: f32([1.5], 0, 6) }, 6],
  ['a gigantic shape', { a: f32([2 ** 40, 2 ** 40], 0, 4) }, 4],
  ['a gigantic shape beside a zero', { a: f32([2 ** 53, 0], 0, 0) }, 0],
  ['offsets above 2^53', { a: f32([1], 2 ** 60, 2 ** 60 + 4) }, 4],
  ['an unknown dtype', { a: { dtype: 'F3', shape: [1], data_offsets: [0, 4] } }, 4],
  [
    'a dtype that is a property of objects',
    { a: { dtype: 'toString', shape: [1], data_offsets: [0, 4] } },
    4,
  ],
  ['half a byte', { a: { dtype: 'F4', shape: [3], data_offsets: [0, 2] } }, 2],
  ['no shape', { a: { dtype: 'F32', data_offsets: [0, 4] } }, 4],
  ['a number for a tensor', { a: 1 }, 0],
  ['metadata that is no string', { __metadata__: { a: 1 } }, 0],
  ['metadata that is a list', { __metadata__: ['a'] }, 0],
])('a header with %s is refused', (_, header, dataBytes) => {
  expect(() => openHeader(header, dataBytes)).toThrow(FormatError)
})
test('a lying length, a wrong first byte, a repeated key and broken text are refused', () => {
  expect(() => open(new Uint8Array(7))).toThrow(/cut/)
  expect(() => open(fileOf('{}', 0, 2 ** 60))).toThrow(/announces a header/)
  expect(() => open(fileOf('{}', 0, 3))).toThrow(/announces a header/)
  expect(() => open(fileOf(' {}', 0))).toThrow(/begin with/)
  expect(() => open(fileOf('{"a":', 0))).toThrow(FormatError)
  const a = JSON.stringify(f32([1], 0, 4))
  expect(() => open(fileOf(`{"a":${a},"a":${a}}`, 4))).toThrow(/stands twice/)
  const invalid = fileOf('{"aa":1}', 0)
  invalid[11] = 0xff
  expect(() => open(invalid)).toThrow(/UTF-8/)
})
test('control characters of a name do not reach a terminal', () => {
  const name = 'a\u001b[31m'
  try {
    openHeader({ [name]: 1 }, 0)
    expect.unreachable()
  } catch (error) {
    expect(String(error)).not.toContain('\u001b')
    expect(error).toMatchObject({ facts: { tensor: name } })
  }
})
test('a header of 100 MB is the longest that is read', () => {
  const size = 100_000_001
  const bytes = new Uint8Array(8 + size).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(size), true)
  bytes.set([0x7b, 0x7d], 8)
  expect(() => open(bytes)).toThrow(/announces a header of 100000001/)
})
test('an index cannot point out of its folder, to a missing file, or to a tensor that is not there', () => {
  const index = (map: unknown) =>
    writeFileSync(join(folder, INDEX_FILE), JSON.stringify({ metadata: {}, weight_map: map }))
  const one = createSafetensors(join(folder, 'one.safetensors'), [{ name: 'a', type: 'U8', shape: [1] }])
  one.append('a', new Uint8Array(1))
  one.finish()
  index({ a: '../one.safetensors' })
  expect(() => openSafetensors(folder)).toThrow(/plain name/)
  index({ a: 'two.safetensors' })
  expect(() => openSafetensors(folder)).toThrow(FormatError)
  index({ a: 'one.safetensors', b: 'one.safetensors' })
  expect(() => openSafetensors(folder)).toThrow(/promises tensor b/)
  index([1])
  expect(() => openSafetensors(folder)).toThrow(/weight_map/)
  index({ a: 'one.safetensors' })
  expect([...openSafetensors(folder).tensors.keys()]).toEqual(['a'])
})
test('a folder without an index opens its only file, and names the choice when there are more', () => {
  expect(() => openSafetensors(folder)).toThrow(/no .safetensors file/)
  createSafetensors(join(folder, 'x.safetensors'), []).finish()
  expect(openSafetensors(folder).tensors.size).toBe(0)
  createSafetensors(join(folder, 'y.safetensors'), []).finish()
  expect(() => openSafetensors(folder)).toThrow(/2 .safetensors files/)
})
