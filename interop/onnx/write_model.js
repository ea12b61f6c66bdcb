#!/usr/bin/env node
// A small model through the writer of ONNX: write_model.js TARGET true|false (data in files beside it). Pare must be built.
// y = softmax(x W), and twice that where the condition holds; W[k, n] = ((5 k + 3 n) mod 7) / 8, [64, 32].
import { floatNumbers, int, node, subgraph, value, wholeNumbers } from '../../dist/formats/onnx/graph.js'
import { createOnnx } from '../../dist/formats/onnx/writer.js'

const [target, externalData] = process.argv.slice(2)
const branch = (name, nodes, initializers = []) =>
  subgraph({ name, inputs: [], outputs: [value(`${name}.y`, 'F32', ['batch', 32])], nodes, initializers })
const graph = {
  name: 'small',
  inputs: [value('x', 'F32', ['batch', 2, 32]), value('condition', 'BOOL', [])],
  outputs: [value('y', 'F32', ['batch', 32])],
  nodes: [
    node('Reshape', ['x', 'shape'], ['flat'], {}, { name: 'reshape' }),
    node('MatMul', ['flat', 'w'], ['scores']),
    node('Softmax', ['scores'], ['weights'], { axis: int(-1) }),
    node('If', ['condition'], ['y'], {
      then_branch: branch(
        'then',
        [node('Mul', ['weights', 'two'], ['then.y'])],
        [floatNumbers('two', [2], [])],
      ),
      else_branch: branch('else', [node('Identity', ['weights'], ['else.y'])]),
    }),
  ],
  initializers: [wholeNumbers('shape', [-1, 64]), { name: 'w', type: 'F32', shape: [64, 32] }],
}
const writer = createOnnx(
  target,
  { graph, opsets: new Map([['', 21]]), metadata: new Map([['made', 'by Pare']]) },
  { externalData: externalData === 'true' },
)
const weights = Float32Array.from(
  { length: 64 * 32 },
  (_, i) => ((5 * Math.floor(i / 32) + 3 * (i % 32)) % 7) / 8,
)
writer.append('w', new Uint8Array(weights.buffer, 0, 4096))
writer.append('w', new Uint8Array(weights.buffer, 4096))
writer.finish()
