import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gguf as reference } from '@huggingface/gguf'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { typeOfName } from '../../nn/block_types.ts'
import { FormatError, OptionError } from '../../tensor/errors.ts'
import type { TensorInfo } from '../archive.ts'
import { bytesSource } from '../file.ts'
import { openGguf, openGgufSource } from './container.ts'
import { type GgufValue, gguf } from './metadata.ts'
import { createGguf, layOutGguf } from './writer.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-gguf-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** A whole file in memory, its data zero. */
function bytesOf(metadata: Map<string, GgufValue>, tensors: TensorInfo[] = []): Uint8Array {
  const { head, size } = layOutGguf(metadata, tensors)
  const bytes = new Uint8Array(size)
  bytes.set(head)
  return bytes
}
const open = (bytes: Uint8Array) => openGgufSource(bytesSource('t.gguf', bytes))

/** Little-endian pieces, to write headers by hand. */
const u32 = (n: number) => [n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >>> 24) & 255]
const u64 = (n: number | bigint) =>
  Array.from({ length: 8 }, (_, i) => Number((BigInt(n) >> BigInt(8 * i)) & 255n))
const text = (s: string) => [...u64(new TextEncoder().encode(s).length), ...new TextEncoder().encode(s)]
const magic = [0x47, 0x47, 0x55, 0x46]
const header = (tensors: number | bigint, pairs: number | bigint, version = 3) => [
  ...magic,
  ...u32(version),
  ...u64(tensors),
  ...u64(pairs),
]
const info = (name: string, dims: (number | bigint)[], type: number, offset: number | bigint) => [
  ...text(name),
  ...u32(dims.length),
  ...dims.flatMap(u64),
  ...u32(type),
  ...u64(offset),
]
/** Header bytes, padding to 32, then `dataBytes` zeros. */
function fileOf(head: number[], dataBytes: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(head.length / 32) * 32 + dataBytes)
  bytes.set(head)
  return bytes
}

test('a file written by hand is read: sizes stand fastest first, data follows the padding', () => {
  const head = [
    ...header(2, 1),
    ...text('general.architecture'),
    ...u32(8),
    ...text('llama'),
    ...info('w', [3, 2], 0, 0),
    ...info('b', [2], 1, 32),
  ]
  const bytes = fileOf(head, 64)
  const start = bytes.length - 64
  bytes[start + 12] = 7
  for (const version of [2, 3]) {
    bytes[4] = version
    const archive = open(bytes)
    expect(archive).toMatchObject({ version, alignment: 32, format: 'gguf' })
    expect(archive.metadata.get('general.architecture')).toEqual({ type: 'string', value: 'llama' })
    expect(archive.tensors.get('w')).toEqual({
      name: 'w',
      type: 'F32',
      shape: [2, 3],
      bytes: 24,
      offset: start,
      file: 't.gguf',
    })
    expect(archive.tensors.get('b')).toMatchObject({ type: 'F16', shape: [2], bytes: 4, offset: start + 32 })
    expect(archive.readRows('w', 1, 2)[0]).toBe(7)
  }
})
test('the writer gives the bytes that were worked out by hand', () => {
  const head = [
    ...header(2, 2),
    ...text('general.architecture'),
    ...u32(8),
    ...text('llama'),
    ...text('k'),
    ...u32(9),
    ...u32(5),
    ...u64(2),
    ...u32(-1 >>> 0),
    ...u32(5),
    ...info('w', [3, 2], 0, 0),
    ...info('b', [2], 1, 32),
  ]
  const metadata = new Map([
    ['general.architecture', gguf.string('llama')],
    ['k', gguf.i32s([-1, 5])],
  ])
  const tensors = [
    { name: 'w', type: 'F32', shape: [2, 3] },
    { name: 'b', type: 'F16', shape: [2] },
  ]
  expect(bytesOf(metadata, tensors)).toEqual(fileOf(head, 64))
})

const finite = fc.float({ noNaN: true })
const scalar: fc.Arbitrary<GgufValue> = fc.oneof(
  fc.record({ type: fc.constant('u8' as const), value: fc.integer({ min: 0, max: 255 }) }),
  fc.record({ type: fc.constant('i8' as const), value: fc.integer({ min: -128, max: 127 }) }),
  fc.record({ type: fc.constant('u16' as const), value: fc.integer({ min: 0, max: 65535 }) }),
  fc.record({ type: fc.constant('i16' as const), value: fc.integer({ min: -32768, max: 32767 }) }),
  fc.record({ type: fc.constant('u32' as const), value: fc.integer({ min: 0, max: 2 ** 32 - 1 }) }),
  fc.record({ type: fc.constant('i32' as const), value: fc.integer() }),
  fc.record({ type: fc.constant('f32' as const), value: finite }),
  fc.record({ type: fc.constant('f64' as const), value: fc.double({ noNaN: true }) }),
  fc.record({ type: fc.constant('bool' as const), value: fc.boolean() }),
  fc.record({ type: fc.constant('string' as const), value: fc.string({ unit: 'grapheme' }) }),
  fc.record({ type: fc.constant('u64' as const), value: fc.maxSafeNat() }),
  fc.record({ type: fc.constant('u64' as const), value: fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }) }),
  fc.record({
    type: fc.constant('i64' as const),
    value: fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  }),
)
const array: fc.Arbitrary<GgufValue> = fc.oneof(
  fc.uint8Array().map((value) => ({ type: 'array' as const, element: 'u8' as const, value })),
  fc.int8Array().map((value) => ({ type: 'array' as const, element: 'i8' as const, value })),
  fc.uint16Array().map((value) => ({ type: 'array' as const, element: 'u16' as const, value })),
  fc.int16Array().map((value) => ({ type: 'array' as const, element: 'i16' as const, value })),
  fc.uint32Array().map((value) => ({ type: 'array' as const, element: 'u32' as const, value })),
  fc.int32Array().map((value) => ({ type: 'array' as const, element: 'i32' as const, value })),
  fc
    .float32Array({ noNaN: true })
    .map((value) => ({ type: 'array' as const, element: 'f32' as const, value })),
  fc
    .float64Array({ noNaN: true })
    .map((value) => ({ type: 'array' as const, element: 'f64' as const, value })),
  fc.bigUint64Array().map((value) => ({ type: 'array' as const, element: 'u64' as const, value })),
  fc.bigInt64Array().map((value) => ({ type: 'array' as const, element: 'i64' as const, value })),
  fc.array(fc.boolean()).map((value) => ({ type: 'array' as const, element: 'bool' as const, value })),
  fc
    .array(fc.string({ unit: 'grapheme' }))
    .map((value) => ({ type: 'array' as const, element: 'string' as const, value })),
)
const key = fc.stringMatching(/^[a-z][a-z0-9_]{0,9}(\.[a-z0-9_]{1,9}){0,3}$/)

test('metadata of every type comes back with its type, and is written again with the same bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(key, fc.oneof(scalar, array)), { maxLength: 8 }), (pairs) => {
      const metadata = new Map(pairs)
      metadata.delete('general.alignment')
      const bytes = bytesOf(metadata)
      const archive = open(bytes)
      expect([...archive.metadata]).toEqual([...metadata])
      expect(bytesOf(new Map(archive.metadata))).toEqual(bytes)
    }),
    { numRuns: 200 },
  )
})
const tensorInfo = fc
  .record({
    type: fc.constantFrom('F32', 'F16', 'BF16', 'I8', 'Q8_0', 'Q4_0', 'IQ4_NL', 'Q6_K', 'Q4_K', 'IQ2_XXS'),
    leading: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 }),
    blocks: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ type, leading, blocks }) => ({ type, shape: [...leading, blocks * typeOfName(type)!.blockLength] }))

test('tensors of any block type, empty ones too, come back at any alignment', () => {
  fc.assert(
    fc.property(
      fc.array(tensorInfo, { maxLength: 6 }),
      fc.constantFrom(undefined, 1, 8, 64, 4096),
      (list, align) => {
        const tensors = list.map((tensor, i) => ({ name: `t.${i}`, ...tensor }))
        const metadata = new Map(align === undefined ? [] : [['general.alignment', gguf.u32(align)]])
        const path = join(folder, 'a.gguf')
        const writer = createGguf(path, metadata, tensors)
        const data = tensors.map(({ type, shape }, i) => {
          const { blockLength, blockBytes } = typeOfName(type)!
          const length = (shape.reduce((a, b) => a * b, 1) / blockLength) * blockBytes
          return Uint8Array.from({ length }, (_, k) => (k + i) & 255)
        })
        for (const i of tensors.keys()) {
          const j = tensors.length - 1 - i
          writer.append(`t.${j}`, data[j]!.subarray(0, 5))
          writer.append(`t.${j}`, data[j]!.subarray(5))
        }
        writer.finish()
        const archive = openGguf(path)
        expect(archive.alignment).toBe(align ?? 32)
        for (const [i, tensor] of tensors.entries()) {
          expect(archive.tensors.get(tensor.name)).toMatchObject(tensor)
          expect(archive.tensors.get(tensor.name)!.offset % (align ?? 32)).toBe(0)
          expect(archive.read(tensor.name)).toEqual(data[i])
        }
        expect(readFileSync(path).length % (align ?? 32)).toBe(0)
        archive.close()
      },
    ),
    { numRuns: 60 },
  )
})
test('a scalar has no axes', () => {
  expect(open(bytesOf(new Map(), [{ name: 's', type: 'F32', shape: [] }])).tensors.get('s')).toMatchObject({
    shape: [],
    bytes: 4,
  })
})
test('another reader sees the same metadata, shapes and offsets', async () => {
  const path = join(folder, 'a.gguf')
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', gguf.string('llama')],
    ['general.quantization_version', gguf.u32(2)],
    ['llama.rope.freq_base', gguf.f32(10000)],
    ['tokenizer.ggml.tokens', gguf.strings(['<s>', '\u2581a', 'é'])],
    ['tokenizer.ggml.add_bos_token', gguf.bool(true)],
    ['tokenizer.ggml.token_type', gguf.i32s([3, 1, 1])],
  ])
  const writer = createGguf(path, metadata, [
    { name: 'blk.0.attn_q.weight', type: 'Q4_K', shape: [2, 256] },
    { name: 'output_norm.weight', type: 'F32', shape: [5] },
  ])
  writer.append('blk.0.attn_q.weight', new Uint8Array(288))
  writer.append('output_norm.weight', new Uint8Array(20))
  writer.finish()
  const seen = await reference(path, { allowLocalFile: true })
  expect(seen.metadata).toMatchObject({
    version: 3,
    tensor_count: 2n,
    'general.architecture': 'llama',
    'llama.rope.freq_base': 10000,
    'tokenizer.ggml.tokens': ['<s>', '\u2581a', 'é'],
    'tokenizer.ggml.add_bos_token': true,
    'tokenizer.ggml.token_type': [3, 1, 1],
  })
  expect(seen.tensorInfos.map(({ name, shape, dtype, offset }) => [name, shape, dtype, offset])).toEqual([
    ['blk.0.attn_q.weight', [256n, 2n], 12, 0n],
    ['output_norm.weight', [5n], 0, 288n],
  ])
  const archive = openGguf(path)
  expect(seen.tensorDataOffset).toBe(BigInt(archive.tensors.get('blk.0.attn_q.weight')!.offset))
  archive.close()
})

test.each<[string, number[], number]>([
  ['another magic', [...u32(0x46554746), ...u32(3), ...u64(0), ...u64(0)], 0],
  ['version 1', header(0, 0, 1), 0],
  ['version 4', header(0, 0, 4), 0],
  ['the other byte order', header(0, 0, 0x03000000), 0],
  ['more tensors than bytes', header(2 ** 40, 0), 0],
  ['a tensor count above 2^63', header(2n ** 64n - 1n, 0), 0],
  ['more values than bytes', header(0, 2 ** 40), 0],
  ['a key longer than the file', [...header(0, 1), ...u64(2 ** 50)], 64],
  ['an empty key', [...header(0, 1), ...text(''), ...u32(4), ...u32(1)], 0],
  ['an unknown value type', [...header(0, 1), ...text('a'), ...u32(13), ...u32(1)], 0],
  ['a bool of 2', [...header(0, 1), ...text('a'), ...u32(7), 2], 0],
  ['a key twice', [...header(0, 2), ...[0, 0].flatMap(() => [...text('a'), ...u32(4), ...u32(1)])], 0],
  ['a string longer than the file', [...header(0, 1), ...text('a'), ...u32(8), ...u64(1e6)], 64],
  ['an array longer than the file', [...header(0, 1), ...text('a'), ...u32(9), ...u32(4), ...u64(1e15)], 64],
  [
    'a string array longer than the file',
    [...header(0, 1), ...text('a'), ...u32(9), ...u32(8), ...u64(100)],
    64,
  ],
  ['an array of arrays', [...header(0, 1), ...text('a'), ...u32(9), ...u32(9), ...u64(0)], 64],
  ['text that is not UTF-8', [...header(0, 1), ...text('a'), ...u32(8), ...u64(1), 0xff], 64],
  ['an alignment of 24', [...header(0, 1), ...text('general.alignment'), ...u32(4), ...u32(24)], 64],
  ['an alignment of 0', [...header(0, 1), ...text('general.alignment'), ...u32(4), ...u32(0)], 64],
  ['an alignment as i32', [...header(0, 1), ...text('general.alignment'), ...u32(5), ...u32(32)], 64],
  ['a name of 64 bytes', [...header(1, 0), ...info('a'.repeat(64), [1], 0, 0)], 64],
  ['five axes', [...header(1, 0), ...info('a', [1, 1, 1, 1, 1], 0, 0)], 64],
  ['a name twice', [...header(2, 0), ...info('a', [1], 0, 0), ...info('a', [1], 0, 32)], 64],
  ['a gigantic size', [...header(1, 0), ...info('a', [2n ** 63n], 0, 0)], 64],
  ['a gigantic product', [...header(1, 0), ...info('a', [2n ** 30n, 2n ** 30n], 0, 0)], 64],
  ['half a block', [...header(1, 0), ...info('a', [48], 2, 0)], 64],
  ['a late first tensor', [...header(1, 0), ...info('a', [1], 0, 32)], 64],
  ['a hole', [...header(2, 0), ...info('a', [1], 0, 0), ...info('b', [1], 0, 64)], 128],
  ['an overlap', [...header(2, 0), ...info('a', [1], 0, 0), ...info('b', [1], 0, 0)], 128],
  ['an offset that is not aligned', [...header(2, 0), ...info('a', [1], 0, 0), ...info('b', [1], 0, 4)], 128],
  ['data that is cut', [...header(1, 0), ...info('a', [17], 0, 0)], 64],
  [
    'an unknown type with a lying successor',
    [...header(2, 0), ...info('a', [1], 99, 0), ...info('b', [1], 0, 1e6)],
    64,
  ],
])('%s is refused', (_, head, dataBytes) => {
  expect(() => open(fileOf(head, dataBytes))).toThrow(FormatError)
})
test('a withdrawn type is listed by name and refused when it is read, its neighbours are read', () => {
  const archive = open(
    fileOf(
      [...header(3, 0), ...info('a', [32], 31, 0), ...info('b', [8], 0, 32), ...info('c', [8], 99, 64)],
      96,
    ),
  )
  expect([...archive.tensors.values()].map((t) => [t.type, t.bytes])).toEqual([
    ['Q4_0_4_4', 32],
    ['F32', 32],
    ['type 99', 32],
  ])
  expect(() => archive.read('a')).toThrow(/Q4_0_4_4/)
  expect(() => archive.readRows('c', 0, 1)).toThrow(/type 99/)
  expect(archive.read('b')).toHaveLength(32)
})
test('what cannot be stored is refused before a file is made', () => {
  const path = join(folder, 'a.gguf')
  const start = (tensor: Partial<TensorInfo>, value?: GgufValue) =>
    createGguf(path, new Map(value ? [['k', value]] : []), [
      { name: 'a', type: 'F32', shape: [1], ...tensor },
    ])
  expect(() => start({ name: 'é'.repeat(32) })).toThrow(/64 bytes/)
  expect(() => start({ shape: [1, 1, 1, 1, 1] })).toThrow(OptionError)
  expect(() => start({ type: 'Q4_K', shape: [2, 128] })).toThrow(/blocks of 256/)
  expect(() => start({ type: 'U8' })).toThrow(/no type U8/)
  expect(() => start({}, { type: 'u32', value: -1 })).toThrow(/does not fit into u32/)
  expect(() => start({}, { type: 'u32', value: 0.5 })).toThrow(OptionError)
  expect(() => start({}, { type: 'u64', value: 2 ** 60 })).toThrow(/bigint/)
  expect(() => createGguf(path, new Map([['general.alignment', gguf.u32(12)]]), [])).toThrow(OptionError)
  expect(() => createGguf(path, new Map([['', gguf.u32(12)]]), [])).toThrow(OptionError)
  expect(readdirSync(folder)).toEqual([])
})
test('a missing and an oversized tensor are refused and leave no file', () => {
  const start = () => createGguf(join(folder, 'a.gguf'), new Map(), [{ name: 'a', type: 'F32', shape: [1] }])
  expect(() => start().finish()).toThrow(/4 bytes are missing/)
  expect(() => start().append('a', new Uint8Array(5))).toThrow(OptionError)
  expect(() => start().append('b', new Uint8Array(5))).toThrow(/not announced/)
  expect(readdirSync(folder)).toEqual([])
})
test('header values that straddle the window of the cursor are whole', () => {
  const strings = Array.from({ length: 300_000 }, (_, i) => `token ${i}`)
  const value = open(bytesOf(new Map([['t', gguf.strings(strings)]]))).metadata.get('t')
  expect(value).toEqual(gguf.strings(strings))
})
