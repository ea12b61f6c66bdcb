import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { FormatError, SourceError } from '../../tensor/errors.ts'
import { type ByteSource, bytesSource } from '../file.ts'
import { int } from './graph.ts'
import { openOnnx, openOnnxSource } from './onnx.ts'
import { MessageWriter, type Part } from './protobuf_writer.ts'

const fixtures = fileURLToPath(new URL('../../../interop/onnx/fixtures/', import.meta.url))

/** What kinds.expected.json says: type, shape and bytes in hexadecimal, by the name Pare lists it under. */
const kinds: Record<string, [string, number[], string]> = JSON.parse(
  readFileSync(join(fixtures, 'kinds.expected.json'), 'utf8'),
)
const archive = openOnnx(join(fixtures, 'kinds.onnx'))
const { graph, ...model } = archive.parsed.model

describe('a file of the onnx package', () => {
  test.each(Object.keys(kinds))('%s has the type, shape and bytes that onnx gave it', (name) => {
    const [type, shape, hex] = kinds[name]!
    const { bytes, ...entry } = archive.tensors.get(name)!
    expect(entry).toMatchObject({ type, shape })
    expect(Buffer.from(archive.read(name)).toString('hex')).toBe(hex)
    expect(bytes).toBe(hex.length / 2)
  })
  test('all tensors are listed, texts too, which are refused when they are read', () => {
    expect([...archive.tensors.keys()].sort()).toEqual([...Object.keys(kinds), 'texts'].sort())
    expect(archive.tensors.get('texts')).toMatchObject({ type: 'STRING', shape: [2], bytes: 3 })
    expect(() => archive.read('texts')).toThrow(/texts has the type STRING/)
  })
  test('rows of tensors in every form, and none where a row ends within a byte', () => {
    expect([...archive.readRows('raw.I16', 1, 3)]).toEqual([255, 255, 255, 127])
    expect([...archive.readRows('numbers.I16', 1, 3)]).toEqual([255, 255, 255, 127])
    expect([...archive.readRows('raw.I4', 1, 2)]).toEqual([0x87])
    expect(() => archive.readRows('raw.U4', 0, 1)).toThrow(/no whole number of bytes/)
    expect(() => archive.readRows('numbers.I16', 0, 4)).toThrow(/rows 0 to 4/)
  })
  test('versions, metadata, inputs and outputs', () => {
    expect(model.irVersion).toBe(10)
    expect([...model.opsets]).toEqual([
      ['', 21],
      ['own', 1],
    ])
    expect([...model.metadata]).toEqual([
      ['author', 'nobody'],
      ['note', 'two\nlines'],
    ])
    expect(graph.inputs).toEqual([
      { name: 'x', type: 'F32', shape: ['batch', 3, null] },
      { name: 'condition', type: 'BOOL', shape: [] },
    ])
    expect(graph.outputs).toEqual([
      { name: 'y', type: 'F32' },
      { name: 'list', type: 'SEQUENCE' },
    ])
    expect(graph.values).toEqual([{ name: 'chosen', type: 'F32', shape: [null] }])
    expect(archive.metadata.get('input.x')).toBe('F32 [batch, 3, ?]')
    expect(archive.metadata.get('metadata.author')).toBe('nobody')
    expect(archive.metadata.get('function.own.Twice')).toBe('2 nodes')
  })
  test('nodes with their attributes, and graphs inside of them', () => {
    expect(graph.nodes.map(({ opType }) => opType)).toEqual(['Constant', 'If', 'Twice', 'Attributes'])
    expect(Object.fromEntries(graph.nodes[3]!.attributes)).toEqual({
      i: int(-3),
      f: { kind: 'float', value: 0.5 },
      s: { kind: 'string', value: 'text' },
      ints: { kind: 'ints', value: [1, -(2 ** 40)] },
      floats: { kind: 'floats', value: [0.5, -2] },
      strings: { kind: 'strings', value: ['a', ''] },
    })
    const branch = graph.nodes[1]!.attributes.get('else_branch')
    expect(branch?.kind === 'graph' && branch.value.nodes[0]).toMatchObject({
      opType: 'Add',
      inputs: ['x', 'inner'],
      outputs: ['else.out'],
    })
  })
})

test('tensors in files beside the model equal those inside of it', () => {
  const inside = openOnnx(join(fixtures, 'products.onnx'))
  const outside = openOnnx(join(fixtures, 'outside.onnx'))
  const files = new Set<string>()
  for (const name of inside.tensors.keys()) {
    expect(outside.read(name), name).toEqual(inside.read(name))
    files.add(outside.tensors.get(name)!.file.slice(fixtures.length))
  }
  expect([...files].sort()).toEqual(['outside.onnx', 'outside.onnx_data', 'outside.onnx_data_1'])
  expect(outside.readRows('table', 3, 5)).toEqual(inside.readRows('table', 3, 5))
  inside.close()
  outside.close()
})

const tensor = (name: string, more: (message: MessageWriter) => MessageWriter, size = 2, type = 1): Part[] =>
  more(new MessageWriter().whole(1, size).whole(2, type).text(8, name)).parts
const modelOf = (...tensors: Part[][]): Uint8Array => {
  const content = new MessageWriter()
  for (const each of tensors) content.message(5, each)
  const whole = new MessageWriter().whole(1, 8).message(7, content.parts).parts
  expect(whole).toHaveLength(1)
  return whole[0] as Uint8Array
}
const open = (bytes: Uint8Array, openExternal?: (path: string) => ByteSource) =>
  openOnnxSource(bytesSource('/models/m.onnx', bytes), openExternal)
const outside = (entries: Record<string, string>, size = 2) =>
  tensor(
    'w',
    (message) => {
      for (const [key, value] of Object.entries(entries))
        message.message(13, new MessageWriter().text(1, key).text(2, value).parts)
      return message.whole(14, 1)
    },
    size,
  )

test('floats one by one, packed in two runs, and mixed are one tensor', () => {
  const f32 = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer)
  const mixed = tensor('w', (m) => m.float(4, 1).bytes(4, f32(2, 3)).text(12, 'note').bytes(4, f32(4)), 4)
  const apart = tensor('v', (m) => m.float(4, 1).float(4, 2))
  const archive = open(modelOf(mixed, apart))
  expect(archive.read('w')).toEqual(f32(1, 2, 3, 4))
  expect(archive.readRows('w', 1, 3)).toEqual(f32(2, 3))
  expect(archive.read('v')).toEqual(f32(1, 2))
})

describe('locations', () => {
  test.each([
    '../w',
    '/etc/passwd',
    'a/../../w',
    './w',
    'a//b',
    '',
    'C:\\w',
    'c:w',
    'a\\b',
    'w\0',
    '..',
    'a/',
  ])('%j is refused before anything is opened', (location) => {
    const opened: string[] = []
    expect(() =>
      open(modelOf(outside({ location })), (path) => {
        opened.push(path)
        return bytesSource(path, new Uint8Array(8))
      }),
    ).toThrow(FormatError)
    expect(opened).toEqual([])
  })
  test('a folder below the model is allowed, and a file is opened once for all its tensors', () => {
    const opened: string[] = []
    const archive = open(
      modelOf(outside({ location: 'weights/w.bin', offset: '8', length: '8' })),
      (path) => {
        opened.push(path)
        return bytesSource(
          path,
          Uint8Array.from({ length: 16 }, (_, i) => i),
        )
      },
    )
    expect(opened).toEqual(['/models/weights/w.bin'])
    expect([...archive.read('w')]).toEqual([8, 9, 10, 11, 12, 13, 14, 15])
  })
  test.each([
    [{ location: 'w', offset: '9', length: '8' }, /needs 8 bytes at 9 of w, which has 16/],
    [{ location: 'w', offset: '-8' }, /offset/],
    [{ location: 'w', offset: '9007199254740993' }, /offset/],
    [{ location: 'w', offset: '1e1' }, /offset/],
    [{ location: 'w', length: '7' }, /has 7 bytes .* need 8/],
    [{ offset: '0' }, /does not say in which/],
  ])('%j is refused', (entries, message) => {
    const openExternal = (path: string) => bytesSource(path, new Uint8Array(16))
    expect(() => open(modelOf(outside(entries)), openExternal)).toThrow(FormatError)
    expect(() => open(modelOf(outside(entries)), openExternal)).toThrow(message)
  })
  test('a missing file of weights is named', () => {
    expect(() => open(modelOf(outside({ location: 'nowhere.bin' })))).toThrow(SourceError)
  })
})

describe('refused', () => {
  const raw = (length: number) => (m: MessageWriter) => m.bytes(9, new Uint8Array(length))
  test.each<[string, Uint8Array, RegExp]>([
    [
      'raw data of another size',
      modelOf(tensor('w', raw(7))),
      /holds 7 bytes where F32 of shape \[2\] has 8/,
    ],
    [
      'too few numbers',
      modelOf(tensor('w', (m) => m.float(4, 1))),
      /holds 1 numbers where shape \[2\] needs 2/,
    ],
    [
      'numbers in the field of another type',
      modelOf(tensor('w', (m) => m.whole(5, 1).whole(5, 2))),
      /in field 5, not in 4/,
    ],
    ['data in two fields', modelOf(tensor('w', (m) => raw(8)(m).float(4, 1))), /two fields/],
    [
      'a shape whose product has no end',
      modelOf(tensor('w', (m) => raw(8)(m).whole(1, 2n ** 62n))),
      /impossible shape/,
    ],
    ['a negative size', modelOf(tensor('w', raw(8), -2)), /impossible shape/],
    ['segments', modelOf(tensor('w', (m) => m.message(3, []))), /segments/],
    ['two tensors of one name', modelOf(tensor('w', raw(8)), tensor('w', raw(8))), /two tensors/],
    ['no graph', new MessageWriter().whole(1, 8).parts[0] as Uint8Array, /no graph/],
    ['an empty file', new Uint8Array(0), /no graph/],
  ])('%s', (_, bytes, message) => {
    expect(() => open(bytes)).toThrow(FormatError)
    expect(() => open(bytes)).toThrow(message)
  })
  test('too few packed integers are found when they are read', () => {
    const archive = open(modelOf(tensor('w', (m) => m.bytes(7, Uint8Array.of(0x96, 0x01)), 2, 7)))
    expect(() => archive.read('w')).toThrow(/holds 1 numbers, its shape needs 2/)
  })
})

test('opening costs what the structure has, not what the weights have', () => {
  const size = 1 << 22
  const weights = Array.from({ length: 4 }, (_, i) =>
    tensor(`w${i}`, (message) => message.bytes(9, new Uint8Array(4 * size)), size),
  )
  const inner = bytesSource('m.onnx', modelOf(...weights))
  let asked = 0
  const archive = openOnnxSource({
    ...inner,
    read(offset, length) {
      asked += length
      return inner.read(offset, length)
    },
  })
  expect(archive.tensors.size).toBe(4)
  expect(inner.size).toBeGreaterThan(64 << 20)
  expect(asked).toBeLessThan(64 << 10)
})

// Comes through Maven, so that a machine without mvn has the other assets and not this one.
const minilm = join(process.env.PARE_ASSETS ?? '', 'models/minilm-fp32-onnx/all-minilm-l6-v2.onnx')
test.skipIf(!existsSync(minilm))(
  'MiniLM has 102 initialisers and 146 constants (needs minilm-fp32-onnx of interop/assets.sh)',
  () => {
    const archive = openOnnx(minilm)
    expect(archive.parsed.model.graph.nodes).toHaveLength(637)
    expect(archive.tensors.size).toBe(248)
    expect(archive.tensors.get('embeddings.word_embeddings.weight')).toMatchObject({
      type: 'F32',
      shape: [30522, 384],
      bytes: 46881792,
    })
    archive.close()
  },
)
