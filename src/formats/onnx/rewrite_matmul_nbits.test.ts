import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { NumericalError, OptionError } from '../../tensor/errors.ts'
import { f16ToNumber, numberToF16 } from '../half.ts'
import { float, int, node, type OnnxNode, type OnnxTensor, value } from './graph.ts'
import { dequantizeMatMulNBits, quantizeMatMulNBits } from './matmul_nbits_packing.ts'
import { type OnnxArchive, openOnnx } from './onnx.ts'
import { MessageWriter } from './protobuf_writer.ts'
import { type RewriteOptions, rewriteMatMulNBits } from './rewrite_matmul_nbits.ts'
import { createOnnx } from './writer.ts'

const fixtures = fileURLToPath(new URL('../../../interop/onnx/fixtures/', import.meta.url))
let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-onnx-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const floatsOf = (bytes: Uint8Array) => new Float32Array(bytes.slice().buffer)
/** [columns, rows] to [rows, columns]. */
const transposed = (matrix: Float32Array, rows: number, columns: number) =>
  Float32Array.from(matrix, (_, i) => matrix[(i % columns) * rows + Math.floor(i / columns)]!)

function rewritten(source: string, options: RewriteOptions = {}) {
  const target = join(folder, 'q.onnx')
  const report = rewriteMatMulNBits(source, target, { leastWeights: 256, ...options })
  return { report, target, before: openOnnx(source), after: openOnnx(target) }
}
/** Weights [N, K] that a node of the main graph computes with. */
function weightsOf(archive: OnnxArchive, { attributes, inputs }: OnnxNode): Float32Array {
  const at = (name: string) => Number(attributes.get(name)!.value)
  const layout = { bits: at('bits') as 4, blockSize: at('block_size'), rows: at('N'), columns: at('K') }
  const [codes, scales, zeroPoints] = inputs.slice(1).map((name) => archive.read(name))
  return dequantizeMatMulNBits(
    { codes: codes!, scales: floatsOf(scales!), ...(zeroPoints ? { zeroPoints } : {}) },
    layout,
  )
}
const nodesOf = (archive: OnnxArchive) => archive.parsed.model.graph.nodes
const named = (archive: OnnxArchive, output: string) =>
  nodesOf(archive).find(({ outputs }) => outputs[0] === output)!

describe.each(['products', 'outside'])('%s', (name) => {
  const source = join(fixtures, `${name}.onnx`)
  test('the report says for every product what became of it', () => {
    const { report } = rewritten(source, { exclude: ['left/*'] })
    expect(report.nodes).toEqual([
      { graph: '', node: 'first', opType: 'MatMul', weight: 'shared' },
      { graph: '', node: 'second', opType: 'MatMul', weight: 'shared' },
      { graph: '', node: 'MatMul#6', opType: 'MatMul', weight: 'held' },
      { graph: '', node: 'gemm/turned', opType: 'Gemm', weight: 'turned' },
      { graph: '', node: 'gemm/plain', opType: 'Gemm', weight: 'plain' },
      { graph: '', node: 'gemm/scaled', opType: 'Gemm', reason: 'its product is scaled (alpha is 0.5)' },
      { graph: '', node: 'tied', opType: 'MatMul', weight: 'table' },
      { graph: '', node: 'small', opType: 'MatMul', reason: 'its matrix has 40 elements, fewer than 256' },
      { graph: '', node: 'computed', opType: 'MatMul', reason: 'its second input is computed' },
      { graph: '', node: 'left/out', opType: 'MatMul', weight: 'left.out', reason: 'it is excluded' },
      { graph: 'choice.then_branch/', node: 'inner/shared', opType: 'MatMul', weight: 'shared' },
      { graph: 'choice.then_branch/', node: 'inner/deep', opType: 'MatMul', weight: 'deep' },
    ])
    expect(report.kept).toEqual(['table'])
    expect(report.bytesBefore).toBe(4 * (40 * 12 + 12 * 40 + 24 * 40 + 24 * 24 + 24 * 20 + 40 * 12))
  })
  test.each([
    [4, 16, true],
    [4, 32, false],
    [8, 64, true],
    [8, 16, false],
    [2, 32, false],
  ] as const)(
    '%i bits, blocks of %i, symmetric %s: the new weights are the old ones quantised',
    (bits, blockSize, symmetric) => {
      const { before, after } = rewritten(source, { bits, blockSize, symmetric })
      for (const [output, weight, rows, columns, turned] of [
        ['m0', 'shared', 12, 40, false],
        ['m2', 'held', 40, 12, false],
        ['g0_product', 'turned', 24, 40, true],
        ['g1', 'plain', 24, 24, false],
        ['m3', 'table', 20, 24, false],
      ] as const) {
        const product = named(after, output)
        expect(product).toMatchObject({ opType: 'MatMulNBits', domain: 'com.microsoft' })
        expect(product.inputs).toHaveLength(symmetric ? 3 : 4)
        const matrix = floatsOf(before.read(weight))
        const layout = { bits, blockSize, rows, columns }
        const expected = quantizeMatMulNBits(turned ? matrix : transposed(matrix, rows, columns), layout, {
          symmetric,
        })
        expect(weightsOf(after, product), output).toEqual(dequantizeMatMulNBits(expected, layout))
      }
    },
  )
  test('what no quantised product needs is gone, and a bias is added behind', () => {
    const { after } = rewritten(source)
    for (const gone of ['shared', 'held', 'turned', 'plain', 'left.out'])
      expect(after.tensors.has(gone)).toBe(false)
    const inner = 'choice.then_branch/'
    expect([...after.tensors.keys()].filter((each) => each.startsWith(inner)).sort()).toEqual([
      `${inner}deep_Q4`,
      `${inner}deep_scales`,
    ])
    expect(named(after, 'm1').inputs.slice(1)).toEqual(named(after, 'm0').inputs.slice(1))
    expect(named(after, 'g0')).toMatchObject({
      opType: 'Add',
      inputs: ['g0_product', 'bias'],
      name: 'gemm/turned_bias',
    })
    expect([...after.parsed.model.opsets]).toEqual([
      ['com.microsoft', 1],
      ['', 17],
    ])
  })
  test('everything else is as it was: other tensors, other nodes, texts of replaced nodes', () => {
    const { before, after, target } = rewritten(source, { accuracyLevel: 4 })
    for (const kept of ['bias', 'scaled', 'table', 'small'])
      expect(after.read(kept)).toEqual(before.read(kept))
    const others = nodesOf(before).filter(
      ({ opType }) => !['MatMul', 'Gemm', 'Constant', 'If'].includes(opType),
    )
    for (const node of others) expect(named(after, node.outputs[0]!)).toEqual(node)
    expect(readFileSync(target, 'latin1')).toContain('2\x04kept')
    expect(named(after, 'm0').attributes.get('accuracy_level')).toEqual(int(4))
    expect(named(after, 'm0').name).toBe('first')
  })
})

test('a file without a product that fits stays byte for byte, fields that nobody knows too', () => {
  const source = join(folder, 'kinds.onnx')
  const unknown = new MessageWriter().text(999, 'unknown').whole(1000, 7).parts[0] as Uint8Array
  writeFileSync(source, Buffer.concat([readFileSync(join(fixtures, 'kinds.onnx')), unknown]))
  const { target } = rewritten(source)
  expect(readFileSync(target)).toEqual(readFileSync(source))
})
test('fields that nobody knows stay around a product that is replaced', () => {
  const source = join(folder, 'source.onnx')
  const mark = (n: number) => new MessageWriter().text(900, `unknown ${n}`).parts
  const w = new MessageWriter()
    .whole(1, 32)
    .whole(1, 16)
    .whole(2, 1)
    .text(8, 'w')
    .bytes(9, new Uint8Array(2048))
    .append(mark(4))
  const product = new MessageWriter().text(1, 'x').text(1, 'w').text(2, 'y').text(4, 'MatMul').append(mark(1))
  const graph = new MessageWriter().message(1, product.parts).append(mark(2)).message(5, w.parts)
  const model = new MessageWriter()
    .whole(1, 8)
    .message(7, graph.parts)
    .message(8, new MessageWriter().whole(2, 17).parts)
    .append(mark(3))
  writeFileSync(source, model.parts[0] as Uint8Array)
  const { target, report } = rewritten(source)
  expect(report.nodes).toEqual([{ graph: '', node: 'MatMul#0', opType: 'MatMul', weight: 'w' }])
  const text = readFileSync(target, 'latin1')
  for (const n of [1, 2, 3]) expect(text.split(`unknown ${n}`)).toHaveLength(2)
  // It went with the weight.
  expect(text).not.toContain('unknown 4')
})
test('before version 4 of the format, codes and scales are inputs in the place of the weight', () => {
  const { after } = rewritten(join(fixtures, 'old_inputs.onnx'))
  expect(after.parsed.model.graph.inputs).toEqual([
    value('x', 'F32', [2, 32]),
    value('w_Q4', 'U8', [16, 1, 16]),
    value('w_scales', 'F32', [16]),
  ])
})
test('kept tensors of other files and new ones go to files beside the new model, and nowhere else', () => {
  const { after, target } = rewritten(join(fixtures, 'outside.onnx'), {
    bits: 8,
    blockSize: 16,
    maxChunkBytes: 5000,
  })
  // turned_Q8 and bias; scaled; table and small.
  expect(readdirSync(folder).sort()).toEqual(['q.onnx', 'q.onnx_data', 'q.onnx_data_1', 'q.onnx_data_2'])
  for (const { file, offset, bytes } of after.tensors.values()) {
    expect(file.startsWith(target)).toBe(true)
    if (file !== target) expect(offset % 4096).toBe(0)
    if (file === target) expect(bytes).toBeLessThan(1024)
  }
  expect(statSync(target).size).toBeLessThan(8000)
})

const half = (rows: number, columns: number): OnnxTensor => ({
  name: 'w',
  type: 'F16',
  shape: [rows, columns],
})
function write(
  nodes: OnnxNode[],
  weight: OnnxTensor,
  data: Uint8Array,
  x: readonly number[] = [1, 32],
): string {
  const path = join(folder, 'source.onnx')
  const graph = {
    name: 'g',
    inputs: [value('x', weight.type, x)],
    outputs: [value('y', weight.type)],
    nodes,
    initializers: [weight],
  }
  const writer = createOnnx(path, { graph, opsets: new Map([['', 21]]) })
  writer.append('w', data)
  writer.finish()
  return path
}
const matmul = node('MatMul', ['x', 'w'], ['y'])

test('a matrix in f16 gets scales in f16, which its codes are chosen for', () => {
  const halves = Uint16Array.from({ length: 32 * 16 }, (_, i) => numberToF16(Math.sin(i)))
  const { after } = rewritten(write([matmul], half(32, 16), new Uint8Array(halves.buffer)))
  expect(after.tensors.get('w_scales')).toMatchObject({ type: 'F16', shape: [16] })
  const scales = new Uint16Array(after.read('w_scales').buffer)
  const matrix = transposed(Float32Array.from(halves, f16ToNumber), 16, 32)
  const roundScale = (scale: number) => f16ToNumber(numberToF16(scale))
  const expected = quantizeMatMulNBits(
    matrix,
    { bits: 4, blockSize: 32, rows: 16, columns: 32 },
    { roundScale },
  )
  expect(Float32Array.from(scales, f16ToNumber)).toEqual(expected.scales)
  expect(after.read('w_Q4')).toEqual(expected.codes)
})
test.each<[string, OnnxNode, OnnxTensor, readonly number[], RegExp]>([
  ['a matrix in f64', matmul, { ...half(32, 16), type: 'F64' }, [1, 32], /is F64/],
  [
    'a stack of matrices',
    matmul,
    { name: 'w', type: 'F32', shape: [2, 16, 16] },
    [1, 32],
    /shape \[2,16,16\]/,
  ],
  ['a vector times a matrix', matmul, half(32, 16), [32], /is a vector/],
  [
    'a transposed first input',
    node('Gemm', ['x', 'w'], ['y'], { transA: int(1) }),
    half(32, 16),
    [32, 1],
    /transA/,
  ],
  [
    'a scaled bias',
    node('Gemm', ['x', 'w', 'x'], ['y'], { beta: float(2) }),
    half(32, 32),
    [1, 32],
    /beta is 2/,
  ],
  [
    'a constant first input',
    node('MatMul', ['w', 'x'], ['y']),
    half(32, 16),
    [16, 1],
    /second input is computed/,
  ],
])('%s is left, with the reason', (_, product, weight, x, reason) => {
  const size = weight.type === 'F64' ? 8 : weight.type === 'F32' ? 4 : 2
  const source = write([product], weight, new Uint8Array(size * weight.shape.reduce((a, b) => a * b, 1)), x)
  const { report, target } = rewritten(source)
  expect(report.nodes).toHaveLength(1)
  expect(report.nodes[0]!.reason).toMatch(reason)
  expect(readFileSync(target)).toEqual(readFileSync(source))
})
test('a matrix that an input may replace is left', () => {
  const path = join(folder, 'source.onnx')
  const weight = half(32, 16)
  const graph = {
    name: 'g',
    inputs: [value('x', 'F16', [1, 32]), value('w', 'F16', [32, 16])],
    outputs: [value('y', 'F16')],
    nodes: [matmul],
    initializers: [weight],
  }
  const writer = createOnnx(path, { graph, opsets: new Map([['', 21]]) })
  writer.append('w', new Uint8Array(1024))
  writer.finish()
  expect(rewritten(path).report.nodes[0]!.reason).toMatch(/replaced by an input/)
})
test('a matrix that is not finite leaves nothing behind', () => {
  const source = write(
    [matmul],
    { ...half(32, 16), type: 'F32' },
    new Uint8Array(Float32Array.from({ length: 512 }, (_, i) => (i === 300 ? Number.NaN : 1)).buffer),
  )
  expect(() => rewritten(source)).toThrow(NumericalError)
  expect(readdirSync(folder)).toEqual(['source.onnx'])
})
test('a target that is a file of the source is refused', () => {
  for (const name of ['outside.onnx', 'outside.onnx_data', 'outside.onnx_data_1'])
    copyFileSync(join(fixtures, name), join(folder, name))
  const source = join(folder, 'outside.onnx')
  expect(() => rewriteMatMulNBits(source, source)).toThrow(/would replace outside.onnx/)
  expect(() =>
    rewriteMatMulNBits(source, join(folder, '..', folder.split('/').at(-1)!, 'outside.onnx')),
  ).toThrow(OptionError)
})
test.each<[RewriteOptions, RegExp]>([
  [{ bits: 3 as 4 }, /2, 4 or 8 bits, got 3/],
  [{ blockSize: 48 }, /got 48/],
  [{ accuracyLevel: 5 as 4 }, /accuracyLevel/],
  [{ leastWeights: Number.NaN }, /leastWeights/],
  [{ maxChunkBytes: 0, externalData: true }, /maxChunkBytes/],
  [{ exclude: ['re:('] }, /exclude/],
])('%j is refused', (options, message) => {
  const start = () => rewriteMatMulNBits(join(fixtures, 'products.onnx'), join(folder, 'q.onnx'), options)
  expect(start).toThrow(OptionError)
  expect(start).toThrow(message)
  expect(readdirSync(folder)).toEqual([])
})

// Comes through Maven, so that a machine without mvn has the other assets and not this one.
const minilm = join(process.env.PARE_ASSETS ?? '', 'models/minilm-fp32-onnx/all-minilm-l6-v2.onnx')
test.skipIf(!existsSync(minilm))(
  '36 products of MiniLM are quantised, 12 are computed (needs minilm-fp32-onnx of interop/assets.sh)',
  () => {
    const { report, target } = rewritten(minilm)
    expect(report.nodes.filter(({ reason }) => reason === undefined)).toHaveLength(36)
    expect(report.nodes.filter(({ reason }) => reason === 'its second input is computed')).toHaveLength(12)
    // 4 bits and a scale of 32 bits for 32 weights.
    expect(report.bytesAfter).toBe((report.bytesBefore / 32) * 5)
    const saved = report.bytesBefore - report.bytesAfter
    // Names and attributes of new tensors and nodes.
    expect(Math.abs(statSync(minilm).size - saved - statSync(target).size)).toBeLessThan(36 * 300)
  },
)
