import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { floatNumbers, int, node, type OnnxTensor, value, wholeNumbers } from '../../formats/onnx/graph.ts'
import { openOnnx } from '../../formats/onnx/onnx.ts'
import { createOnnx } from '../../formats/onnx/writer.ts'
import { decodeStored } from '../../nn/values/values.ts'
import { FormatError } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import { onnxLayers, onnxWeights } from './onnx_layers.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onnx-layers-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const bytes = (name: string, shape: number[], data: number[]): OnnxTensor => ({
  name,
  type: 'U8',
  shape,
  data: Uint8Array.from(data),
})
/** Two rows of 20 columns in blocks of 16; of the second block 4 codes count. */
const codes = bytes('w_Q4', [2, 2, 8], [...Array(16).fill(0x10), ...Array(16).fill(0x32)])
const scales = floatNumbers('w_scales', [1, 2, 4, 8])

interface Changes {
  inputs?: string[]
  attributes?: Record<string, number>
  tensors?: OnnxTensor[]
}

function layersOf({ inputs = ['x', 'w_Q4', 'w_scales'], attributes = {}, tensors = [] }: Changes) {
  const own = { K: 20, N: 2, bits: 4, block_size: 16, ...attributes }
  const product = node(
    'MatMulNBits',
    inputs,
    ['y'],
    Object.fromEntries(Object.entries(own).map(([key, size]) => [key, int(size)])),
    { domain: 'com.microsoft' },
  )
  const given = new Map([codes, scales, ...tensors].map((tensor) => [tensor.name, tensor]))
  const graph = {
    name: 'one',
    inputs: [value('x', 'F32', [1, 20])],
    outputs: [value('y', 'F32', [1, 2])],
    nodes: [product],
    initializers: [...given.values(), wholeNumbers('constants/1', [1])],
  }
  const path = join(folder, 'model.onnx')
  createOnnx(path, {
    graph,
    opsets: new Map([
      ['', 17],
      ['com.microsoft', 1],
    ]),
  }).finish()
  return openOnnx(path)
}

function valuesOf(changes: Changes, start = 0, end = 2): number[] {
  const archive = layersOf(changes)
  try {
    return scope(() => [
      ...(decodeStored(onnxLayers(archive)[0]!.values(start, end)).toArray() as Float32Array),
    ])
  } finally {
    archive.close()
  }
}

const repeated = (pair: readonly number[], count: number) => Array.from({ length: count }, () => pair).flat()

test('codes less the zero point times the scale of their block, padding left out', () => {
  const first = [...repeated([-8, -7], 8), ...repeated([-16, -14], 2)]
  const second = [...repeated([-24, -20], 8), ...repeated([-48, -40], 2)]
  expect(valuesOf({})).toEqual([...first, ...second])
  expect(valuesOf({}, 1, 2)).toEqual(second)
})

test('scales and zero points may come as rows or as one run, zero points packed or as numbers', () => {
  const rows = { ...scales, shape: [2, 2] }
  const inputs = ['x', 'w_Q4', 'w_scales', 'z']
  const plain = [
    ...repeated([-1, 0], 8),
    ...repeated([-4, -2], 2),
    ...repeated([-4, 0], 8),
    ...repeated([-16, -8], 2),
  ]
  expect(valuesOf({ inputs, tensors: [rows, bytes('z', [2], [0x21, 0x43])] })).toEqual(plain)
  expect(valuesOf({ inputs, tensors: [bytes('z', [2, 1], [0x21, 0x43])] })).toEqual(plain)
  const numbers = floatNumbers('z', [1, 2, 3, 4], [2, 2])
  expect(valuesOf({ inputs, tensors: [numbers] })).toEqual(plain)
})

test('sorted columns, unknown widths, and parts of another size are refused', () => {
  const order = wholeNumbers('g', [0])
  for (const [changes, message] of [
    [{ inputs: ['x', 'w_Q4', 'w_scales', '', 'g'], tensors: [order] }, /g_idx/],
    [{ attributes: { bits: 5 } }, /w: MatMulNBits has 2, 4 or 8 bits, got 5/],
    [{ attributes: { block_size: 24 } }, /blocks of 16/],
    [{ attributes: { K: -1 } }, /rows and columns/],
    [{ attributes: { N: 2 ** 40 } }, /w_Q4: needs U8 \[1099511627776, 2, 8\]/],
    [{ attributes: { K: 64 } }, /w_Q4: needs U8 \[2, 4, 8\], the file has U8 \[2, 2, 8\]/],
    [{ tensors: [floatNumbers('w_scales', [1, 2])] }, /w_scales: needs F32 or F16 or BF16 \[4\]/],
  ] as const) {
    expect(() => valuesOf(changes as Changes)).toThrow(FormatError)
    expect(() => valuesOf(changes as Changes)).toThrow(message)
  }
})

test('constants of the graph are no weights', () => {
  const archive = onnxWeights(layersOf({}))
  expect([...archive.tensors.keys()]).toEqual(['w_Q4', 'w_scales'])
  archive.close()
})
