/** ONNX files under damage: cut anywhere, bits flipped, lengths blown up, graphs without end. Seeds are fixed. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { FormatError, PareError } from '../../tensor/errors.ts'
import { type ByteSource, bytesSource } from '../file.ts'
import { numbersBelow } from '../mulberry32.suite.ts'
import { openOnnxSource } from './onnx.ts'
import { MessageWriter, type Part } from './protobuf_writer.ts'
import { rewriteMatMulNBits } from './rewrite_matmul_nbits.ts'

const fixtures = fileURLToPath(new URL('../../../interop/onnx/fixtures/', import.meta.url))
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(join(fixtures, name)))
const cases = 1000

function damage(original: Uint8Array, below: (n: number) => number): Uint8Array {
  const bytes = original.slice(0, below(3) === 0 ? below(original.length + 1) : original.length)
  if (bytes.length === 0) return bytes
  const flips = below(4)
  for (let i = 0; i < flips; i++) bytes[below(bytes.length)]! ^= 1 << below(8)
  // Sometimes a whole field becomes gigantic, or one byte another tag.
  if (below(4) === 0) bytes.fill(below(2) === 0 ? 0xff : 0x7f, below(bytes.length), below(bytes.length) + 5)
  if (below(4) === 0) bytes[below(bytes.length)] = below(256)
  return bytes
}

/** A source that counts the bytes it is asked for. */
function counted(inner: ByteSource): ByteSource & { asked: number } {
  const source = {
    ...inner,
    asked: 0,
    read(offset: number, length: number) {
      const bytes = inner.read(offset, length)
      source.asked += length
      return bytes
    },
  }
  return source
}

describe.each(['kinds.onnx', 'outside.onnx'])('%s', (name) => {
  const original = read(name)
  const external = (path: string): ByteSource => {
    const file = path.slice(path.lastIndexOf('/') + 1)
    if (!readdirSync(fixtures).includes(file)) throw new FormatError('no such file')
    return bytesSource(path, read(file))
  }
  const open = (bytes: Uint8Array) => {
    const source = counted(bytesSource('/m/x.onnx', bytes))
    return { source, archive: openOnnxSource(source, external) }
  }
  test('damage ends in a typed error, or in tensors that lie inside of their files', () => {
    let [opened, refused] = [0, 0]
    for (let seed = 0; seed < cases; seed++) {
      const source = counted(bytesSource('/m/x.onnx', damage(original, numbersBelow(seed))))
      try {
        const archive = openOnnxSource(source, external)
        opened++
        for (const { name, bytes, shape, type } of archive.tensors.values()) {
          try {
            expect(archive.read(name)).toHaveLength(bytes)
            if (shape.length > 0 && !['U4', 'I4'].includes(type))
              expect(archive.readRows(name, 0, shape[0]!)).toHaveLength(bytes)
          } catch (error) {
            if (!(error instanceof PareError)) throw error
          }
        }
      } catch (error) {
        if (!(error instanceof PareError)) throw new Error(`seed ${seed}`, { cause: error })
        refused++
      }
      // The structure is read about once, each tensor a few times; nothing is read because a damaged length says so.
      expect(source.asked, `seed ${seed}`).toBeLessThanOrEqual(100 * original.length)
    }
    expect(opened).toBeGreaterThan(cases / 20)
    expect(refused).toBeGreaterThan(cases / 4)
  })
  test('a cut is noticed, or falls between two fields of the model behind its graph', () => {
    const { archive } = open(original)
    const names = [...archive.tensors.keys()].filter((each) => !each.startsWith('own.'))
    for (let length = 0; length < original.length; length++)
      try {
        const { archive } = open(original.slice(0, length))
        expect([...archive.tensors.keys()].filter((each) => !each.startsWith('own.'))).toEqual(names)
      } catch (error) {
        if (!(error instanceof PareError)) throw new Error(`cut at ${length}`, { cause: error })
      }
    expect(() => open(original.slice(0, original.length - 30))).toThrow(FormatError)
  })
})

test('rewriting a damaged file ends in a typed error without a file, or in a file that opens', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-onnx-'))
  try {
    const [source, target] = [join(folder, 's.onnx'), join(folder, 't.onnx')]
    const original = read('products.onnx')
    let done = 0
    for (let seed = 0; seed < 150; seed++) {
      writeFileSync(source, damage(original, numbersBelow(seed)))
      try {
        rewriteMatMulNBits(source, target, { leastWeights: 256, symmetric: seed % 2 === 0 })
        openOnnxSource(bytesSource(target, new Uint8Array(readFileSync(target)))).close()
        done++
        rmSync(target)
      } catch (error) {
        if (!(error instanceof PareError)) throw new Error(`seed ${seed}`, { cause: error })
      }
      expect(readdirSync(folder), `seed ${seed}`).toEqual(['s.onnx'])
    }
    expect(done).toBeGreaterThan(8)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

/** A file that begins with the heads of messages whose content is a few bytes again and again. */
function endless(head: readonly number[], repeated: Uint8Array, size: number): ByteSource {
  const copies = Math.ceil((1 << 19) / repeated.length)
  const run = new Uint8Array(copies * repeated.length)
  for (let i = 0; i < copies; i++) run.set(repeated, i * repeated.length)
  return {
    name: 'x',
    size,
    read(offset, length) {
      const bytes = new Uint8Array(length)
      for (let i = 0; i < length; ) {
        const at = offset + i - head.length
        const part = at < 0 ? head.slice(offset + i) : run.subarray(at % repeated.length)
        bytes.set(part.slice(0, length - i), i)
        i += part.length
      }
      return bytes
    },
    close() {},
  }
}
const only = (message: MessageWriter): Uint8Array => message.parts[0] as Uint8Array
/** The tag and length of a field that holds the rest of `size` bytes, less what stands in front of it. */
function headOf(field: number, size: number, inFront = 0): number[] {
  let length = size - inFront
  // The head itself takes room, and its length depends on it.
  for (let i = 0; i < 3; i++)
    length = size - inFront - only(new MessageWriter().message(field, [{ name: '', bytes: length }])).length
  return [...only(new MessageWriter().message(field, [{ name: '', bytes: length }]))]
}
const size = 2 ** 31 - 100
const graphHead = headOf(7, size)
const inGraph = (repeated: Uint8Array) => endless(graphHead, repeated, size)
const nameOf = (length: number) => 'n'.repeat(length)

test.each<[string, ByteSource]>([
  ['empty nodes', inGraph(only(new MessageWriter().message(1, [])))],
  ['empty tensors', inGraph(only(new MessageWriter().message(5, [])))],
  ['empty values', inGraph(only(new MessageWriter().message(11, [])))],
  [
    'long names',
    inGraph(only(new MessageWriter().message(12, new MessageWriter().text(1, nameOf(1000)).parts))),
  ],
  ['metadata', endless([], only(new MessageWriter().message(14, [])), size)],
  ['unknown fields', endless([], only(new MessageWriter().whole(100, 1)), size)],
  [
    'inputs of one node',
    endless(
      [...graphHead, ...headOf(1, size, graphHead.length)],
      only(new MessageWriter().text(1, '')),
      size,
    ),
  ],
  [
    'sizes of one tensor',
    endless(
      [...graphHead, ...headOf(5, size, graphHead.length)],
      only(new MessageWriter().whole(1, 1)),
      size,
    ),
  ],
  [
    'packed sizes of one tensor',
    inGraph(
      only(
        new MessageWriter().message(5, new MessageWriter().bytes(1, new Uint8Array(500_000).fill(1)).parts),
      ),
    ),
  ],
])('%s without end are refused with bounded memory', (_, source) => {
  const before = process.memoryUsage().rss
  expect(() => openOnnxSource(source)).toThrow(FormatError)
  expect(process.memoryUsage().rss - before).toBeLessThan(900 * 2 ** 20)
})

const branch = (graph: Part[]): Part[] =>
  new MessageWriter().message(
    1,
    new MessageWriter()
      .text(3, 'If')
      .message(5, new MessageWriter().text(1, 'then').message(6, graph).whole(20, 5).parts).parts,
  ).parts
const model = (graph: Part[]) => bytesSource('x', only(new MessageWriter().whole(1, 8).message(7, graph)))

test('graphs in graphs are read down to a depth, and refused below it', () => {
  const nested = (depth: number) => {
    let graph: Part[] = []
    for (let i = 1; i < depth; i++) graph = branch(graph)
    return model(graph)
  }
  expect(openOnnxSource(nested(32)).tensors.size).toBe(0)
  expect(() => openOnnxSource(nested(33))).toThrow(/deeper than 32/)
  expect(() => openOnnxSource(nested(5000))).toThrow(/deeper than 32/)
})
test('nodes of two bytes and numbers of one are refused before they take many times the file', () => {
  const nodes = new Uint8Array(2 * 300_000).map((_, i) => (i % 2 === 0 ? 10 : 0))
  expect(() => openOnnxSource(model([nodes]))).toThrow(/bytes in memory/)
  const numbers = new MessageWriter().bytes(8, new Uint8Array(30_000_000)).whole(20, 7).parts
  const node = new MessageWriter().message(5, numbers).parts
  expect(() => openOnnxSource(model(new MessageWriter().message(1, node).parts))).toThrow(/bytes in memory/)
  // A graph of 20,000 nodes with names of their own is none of these.
  const named = new MessageWriter()
  for (let i = 0; i < 20_000; i++)
    named.message(
      1,
      new MessageWriter()
        .text(1, `x${i}`)
        .text(2, `x${i + 1}`)
        .text(4, 'Relu').parts,
    )
  expect(openOnnxSource(model(named.parts)).parsed.model.graph.nodes).toHaveLength(20_000)
})
test('long paths to many tensors are refused', () => {
  const inner = new MessageWriter()
  for (let i = 0; i < 2000; i++)
    inner.message(5, new MessageWriter().whole(1, 0).whole(2, 1).text(8, `${i}`).parts)
  const node = new MessageWriter()
    .text(3, nameOf(100_000))
    .message(5, new MessageWriter().text(1, 'then').message(6, inner.parts).whole(20, 5).parts)
  expect(() => openOnnxSource(model(new MessageWriter().message(1, node.parts).parts))).toThrow(
    /names without end/,
  )
})
test('nodes and attributes of one name do not hide each other', () => {
  const w = (size: number) =>
    new MessageWriter().message(5, new MessageWriter().whole(1, 0).whole(2, size).text(8, 'w').parts).parts
  const two = model([...branch(w(1)), ...branch(w(7))])
  expect([...openOnnxSource(two).tensors.values()].map(({ name, type }) => [name, type])).toEqual([
    ['If.then/w', 'F32'],
    ['If#1.then/w', 'I64'],
  ])
})
test('a damaged bias or attribute of another kind is no crash', () => {
  const source = model(
    new MessageWriter().message(
      1,
      new MessageWriter()
        .text(4, 'Gemm')
        .message(5, new MessageWriter().text(1, 'transB').text(4, 'x').whole(20, 3).parts).parts,
    ).parts,
  )
  expect(openOnnxSource(source).parsed.model.graph.nodes[0]!.attributes.get('transB')).toEqual({
    kind: 'string',
    value: 'x',
  })
})
