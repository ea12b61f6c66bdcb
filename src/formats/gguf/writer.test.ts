import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gguf as reference } from '@huggingface/gguf'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { typeOfName } from '../../nn/block_types.ts'
import { OptionError } from '../../tensor/errors.ts'
import type { TensorInfo } from '../archive.ts'
import { openGguf } from './container.ts'
import { bytesOf, fileOf, header, info, text, u32, u64 } from './header_bytes.suite.ts'
import { type GgufValue, gguf } from './metadata.ts'
import { createGguf } from './writer.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-gguf-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

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
