import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { OptionError } from '../../tensor/errors.ts'
import {
  float,
  floatNumbers,
  floats,
  int,
  ints,
  node,
  type OnnxGraph,
  type OnnxModel,
  string,
  strings,
  subgraph,
  tensorAttribute,
  value,
  wholeNumbers,
} from './graph.ts'
import { openOnnx } from './onnx.ts'
import { createOnnx } from './writer.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-onnx-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const bytes = (length: number, seed = 0) => Uint8Array.from({ length }, (_, i) => (7 * i + seed) & 255)
const line: OnnxGraph = {
  name: 'line',
  inputs: [value('x', 'F32', ['batch', 4])],
  outputs: [value('y', 'F32', ['batch', 2])],
  nodes: [node('MatMul', ['x', 'w'], ['y'])],
  initializers: [{ name: 'w', type: 'F32', shape: [4, 2] }],
}
const opsets = new Map([['', 21]])

test('a model of one product is these bytes', () => {
  const path = join(folder, 'm.onnx')
  const writer = createOnnx(path, { graph: { ...line, name: 'g' }, opsets, irVersion: 8, producer: 'p' })
  writer.append('w', bytes(32))
  writer.finish()
  const hex = [
    '0808 120170', // ir_version 8, producer p
    '3a77', // graph of 19 + 3 + 45 + 26 + 26 bytes
    '0a11 0a0178 0a0177 120179 22064d61744d756c', // node: inputs x and w, output y, MatMul
    '120167', // name g
    `2a2b 0804 0802 1001 420177 4a20 ${Buffer.from(bytes(32)).toString('hex')}`, // w: 4, 2, F32, name, 32 bytes
    '5a18 0a0178 1213 0a11 0801 120d 0a07 12056261746368 0a02 0804', // x: F32, batch and 4
    '6218 0a0179 1213 0a11 0801 120d 0a07 12056261746368 0a02 0802',
    '4202 1015', // opset 21
  ]
  expect(readFileSync(path).toString('hex')).toBe(hex.join('').replaceAll(' ', ''))
})

test('what is written is read again: values, nodes, every kind of attribute, graphs in graphs', () => {
  const inner: OnnxGraph = {
    name: 'inner',
    inputs: [],
    outputs: [value('inner.out', 'F32')],
    nodes: [node('Add', ['x', 'inner.w'], ['inner.out'])],
    initializers: [{ name: 'inner.w', type: 'F16', shape: [4] }],
  }
  const graph: OnnxGraph = {
    name: 'g',
    inputs: [value('x', 'F32', ['batch', 4, null]), value('c', 'BOOL', [])],
    outputs: [value('y', 'F32', [])],
    values: [value('z', 'I64', [-1])],
    nodes: [
      node('If', ['c'], ['z'], {
        then_branch: subgraph(inner),
        else_branch: subgraph({ ...inner, initializers: [floatNumbers('inner.w', [1])] }),
      }),
      node(
        'Own',
        ['z', '', 'axes', 'w'],
        ['y'],
        {
          int: int(-5),
          large: int(2n ** 62n),
          zero: int(0),
          float: float(0.25),
          text: string('é'),
          ints: ints([1, -(2n ** 60n)]),
          floats: floats([-0.5]),
          strings: strings(['', 'b']),
          tensor: tensorAttribute(wholeNumbers('t', [-7])),
          graphs: { kind: 'graphs', value: [] },
        },
        { name: 'n', domain: 'own' },
      ),
    ],
    initializers: [wholeNumbers('axes', [3, 4], [2, 1]), { name: 'w', type: 'U4', shape: [3] }],
  }
  const model: OnnxModel = {
    graph,
    opsets: new Map([
      ['', 21],
      ['own', 3],
    ]),
    metadata: new Map([['k', 'v']]),
  }
  const path = join(folder, 'm.onnx')
  const writer = createOnnx(path, model)
  writer.append('w', bytes(2))
  writer.append('inner.w', bytes(5))
  writer.append('inner.w', bytes(3, 9))
  writer.finish()
  const archive = openOnnx(path)
  const read = archive.parsed.model
  expect(read).toMatchObject({
    irVersion: 10,
    producer: 'pare',
    opsets: model.opsets,
    metadata: model.metadata,
  })
  expect(read.graph.inputs).toEqual(graph.inputs)
  expect(read.graph.values).toEqual(graph.values)
  const own = {
    ...Object.fromEntries(graph.nodes[1]!.attributes),
    tensor: { kind: 'tensor', value: { name: 't', type: 'I64', shape: [1] } },
  }
  expect(Object.fromEntries(read.graph.nodes[1]!.attributes)).toEqual(own)
  expect(read.graph.nodes[1]).toMatchObject({ inputs: ['z', '', 'axes', 'w'], name: 'n', domain: 'own' })
  expect([...archive.tensors.keys()]).toEqual([
    'axes',
    'w',
    'If#0.then_branch/inner.w',
    'If#0.else_branch/inner.w',
  ])
  expect(archive.read('w')).toEqual(bytes(2))
  expect(archive.read('If#0.then_branch/inner.w')).toEqual(Uint8Array.from([...bytes(5), ...bytes(3, 9)]))
  expect(archive.read('axes')).toEqual(new Uint8Array(BigInt64Array.of(3n, 4n).buffer))
  archive.close()
})

test('tensors of any type and shape come back, inside of the model and beside it', () => {
  const tensors = fc.array(
    fc.record({
      type: fc.constantFrom('F32', 'F16', 'BF16', 'I64', 'U8', 'I4', 'U2', 'F64', 'BOOL'),
      shape: fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 6 },
  )
  fc.assert(
    fc.property(
      tensors,
      fc.boolean(),
      fc.integer({ min: 1, max: 20_000 }),
      (drawn, externalData, maxChunkBytes) => {
        const initializers = drawn.map((tensor, i) => ({ ...tensor, name: `t${i}` }))
        const path = join(folder, 'm.onnx')
        const graph = { name: 'g', inputs: [], outputs: [], nodes: [], initializers }
        const writer = createOnnx(path, { graph, opsets }, { externalData, maxChunkBytes })
        const contents = initializers.map(({ name, type, shape }, i) => {
          const bits = { F32: 32, F16: 16, BF16: 16, I64: 64, U8: 8, I4: 4, U2: 2, F64: 64, BOOL: 8 }[type]!
          const content = bytes(Math.ceil((shape.reduce((a, b) => a * b, 1) * bits) / 8), i)
          writer.append(name, content.subarray(0, 10))
          writer.append(name, content.subarray(10))
          return content
        })
        writer.finish()
        const archive = openOnnx(path)
        for (const [i, { name, type, shape }] of initializers.entries()) {
          expect(archive.tensors.get(name)).toMatchObject({ type, shape })
          expect(archive.read(name)).toEqual(contents[i])
          const beside = externalData && contents[i]!.length >= 1024
          const { file, offset } = archive.tensors.get(name)!
          expect(file !== path).toBe(beside)
          if (beside) expect(offset % 4096).toBe(0)
        }
        archive.close()
      },
    ),
    { numRuns: 30 },
  )
})

test('tensors beside the model are dealt to files of a chosen size, and a large one has its own', () => {
  const path = join(folder, 'm.onnx')
  const sizes = [3000, 3000, 9000, 100, 1024]
  const initializers = sizes.map((size, i) => ({ name: `t${i}`, type: 'U8', shape: [size] }))
  const graph = { name: 'g', inputs: [], outputs: [], nodes: [], initializers }
  const writer = createOnnx(path, { graph, opsets }, { externalData: true, maxChunkBytes: 8000 })
  for (const [i, size] of sizes.entries()) writer.append(`t${i}`, bytes(size))
  expect(readdirSync(folder).every((name) => name.endsWith('.part'))).toBe(true)
  writer.finish()
  const data = ['', '_data', '_data_1', '_data_2'].map((suffix) => `m.onnx${suffix}`)
  expect(readdirSync(folder).sort()).toEqual(data)
  expect(data.slice(1).map((name) => statSync(join(folder, name)).size)).toEqual([4096 + 3000, 9000, 1024])
})

test('a model of 2 GiB goes to files beside it by itself, and is refused where it must not', () => {
  const initializers = [0, 1, 2].map((i) => ({ name: `t${i}`, type: 'U8', shape: [2 ** 30] }))
  const graph = { name: 'g', inputs: [], outputs: [], nodes: [], initializers }
  const path = join(folder, 'm.onnx')
  expect(() => createOnnx(path, { graph, opsets }, { externalData: false })).toThrow(
    /at most 2147483647 bytes/,
  )
  expect(readdirSync(folder)).toEqual([])
  const writer = createOnnx(path, { graph, opsets })
  // One file of 2e9 bytes holds one of them.
  expect(readdirSync(folder)).toHaveLength(4)
  writer.abort()
  expect(readdirSync(folder)).toEqual([])
})

describe('refused before anything is written', () => {
  const w = line.initializers[0]!
  test.each<[string, Partial<OnnxGraph>, RegExp]>([
    [
      'an input that nothing gives',
      { nodes: [node('MatMul', ['x', 'v'], ['y'], {}, { name: 'n' })] },
      /n: takes v/,
    ],
    ['a use before its node', { nodes: [node('Neg', ['y'], ['z']), ...line.nodes] }, /Neg#0: takes y/],
    ['two values of one name', { nodes: [...line.nodes, ...line.nodes] }, /y: two things/],
    ['an output that nothing gives', { outputs: [value('z', 'F32')] }, /z: the output comes from no node/],
    [
      'operators without version',
      { nodes: [node('MatMul', ['x', 'w'], ['y'], {}, { domain: 'own' })] },
      /own/,
    ],
    ['an unknown type', { initializers: [{ ...w, type: 'Q4_0' }] }, /cannot store .* Q4_0/],
    ['a negative size', { initializers: [{ ...w, shape: [-1] }] }, /shape \[-1\]/],
    ['data of another size', { initializers: [{ ...w, data: bytes(31) }] }, /has 32 bytes, its data 31/],
    ['a value of a sequence', { inputs: [value('x', 'SEQUENCE')] }, /only tensors/],
  ])('%s', (_, change, message) => {
    const start = () => createOnnx(join(folder, 'm.onnx'), { graph: { ...line, ...change }, opsets })
    expect(start).toThrow(OptionError)
    expect(start).toThrow(message)
    expect(readdirSync(folder)).toEqual([])
  })
  test('a tensor that is incomplete at the end leaves nothing', () => {
    const writer = createOnnx(join(folder, 'm.onnx'), { graph: line, opsets }, { externalData: true })
    writer.append('w', bytes(31))
    expect(() => writer.finish()).toThrow(/1 bytes are missing/)
    expect(readdirSync(folder)).toEqual([])
  })
})
