/** Hostile headers of tensor files and settings of models. */
import { fixed, joinBytes } from './bytes.js'
import { assembleGguf, partsOfGguf } from './gguf.js'
import { fixture, fixtureFolder } from './tensor_files.js'

const encoder = new TextEncoder()
const bytes = (text) => encoder.encode(text)

const safetensors = (name, expect, header, data = 8, stated) => ({
  reader: 'safetensors',
  name,
  expect,
  files: {
    'm.safetensors': joinBytes(fixed(stated ?? bytes(header).length, 8), bytes(header), new Uint8Array(data)),
  },
})
const tensor = (name, dtype, shape, from, to) =>
  `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":${JSON.stringify(shape)},"data_offsets":[${from},${to}]}`
const header = 'PARE_E_SAFETENSORS_HEADER'
const place = 'PARE_E_SAFETENSORS_'
const containers = [
  safetensors(
    'two tensors',
    'opens',
    `{${tensor('a', 'F32', [1], 0, 4)},${tensor('__proto__', 'F32', [1], 4, 8)}}`,
  ),
  safetensors(
    'tensors that overlap',
    place,
    `{${tensor('a', 'F32', [2], 0, 8)},${tensor('b', 'F32', [1], 4, 8)}}`,
  ),
  safetensors('a hole', place, `{${tensor('a', 'F32', [1], 4, 8)}}`),
  safetensors('bytes behind the last tensor', place, `{${tensor('a', 'F32', [1], 0, 4)}}`),
  safetensors(
    'one name twice',
    'PARE_E_DUPLICATE',
    `{${tensor('a', 'F32', [1], 0, 4)},${tensor('a', 'F32', [1], 4, 8)}}`,
  ),
  safetensors('2^52 rows of no columns', 'opens', `{${tensor('a', 'F32', [2 ** 52, 0], 0, 0)}}`, 0),
  safetensors('2^53 elements', place, `{${tensor('a', 'U8', [2 ** 53], 0, 8)}}`),
  safetensors(
    'a size that is no number',
    place,
    '{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,8]}}',
  ),
  safetensors(
    'an offset of 2^64',
    place,
    '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551616]}}',
  ),
  safetensors('lists 20,000 deep', 'PARE_E_JSON', `{"a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`),
  safetensors('a header of 2^63 bytes', header, '{}', 0, 2n ** 63n),
  safetensors('a header of 2^64 - 1 bytes', header, '{}', 0, 2n ** 64n - 1n),
  safetensors('a header that is cut', header, '{}', 0, 3),
]

const index = (name, expect, path) => {
  const files = fixtureFolder('fixtures/llama-untied')
  const { weight_map } = JSON.parse(Buffer.from(files['model.safetensors.index.json']).toString())
  weight_map[Object.keys(weight_map)[0]] = path
  return {
    reader: 'safetensors-index',
    name,
    expect,
    files: { ...files, 'model.safetensors.index.json': bytes(JSON.stringify({ weight_map })) },
  }
}
const indices = [
  '../x.safetensors',
  '/etc/x.safetensors',
  'a/b.safetensors',
  '..',
  'C:x.safetensors',
  'x\0.safetensors',
  'model.bin',
].map((path) => index(`a shard named ${JSON.stringify(path)}`, 'PARE_E_SAFETENSORS_INDEX', path))

const original = fixture('fixtures/llama-rope-freqs-f16.gguf')
const gguf = (name, expect, change) => {
  const parts = partsOfGguf(original)
  change(parts)
  return { reader: 'gguf', name, expect, files: { 'm.gguf': assembleGguf(parts) } }
}
const headerFault = 'PARE_E_GGUF_HEADER'
const list = (element, count, items = []) => ({ key: bytes('x'), type: 9, element, count, items })
const add = (field) => (parts) => {
  parts.keys.push(field)
  parts.keyCount++
}
const ggufs = [
  gguf('the file as it was', 'opens', () => {}),
  gguf('an array of 2^63 numbers', headerFault, add(list(4, 2n ** 63n))),
  gguf('an array of 2^64 - 1 texts', headerFault, add(list(8, 2n ** 64n - 1n))),
  gguf('an array of arrays', headerFault, add(list(9, 1, [fixed(4, 4)]))),
  gguf(
    'a text of 2^63 bytes',
    headerFault,
    add({ key: bytes('x'), type: 8, value: bytes('x'), valueLength: 2n ** 63n }),
  ),
  ...[0, 3, 2 ** 31 + 1].map((number) =>
    gguf(
      `an alignment of ${number}`,
      headerFault,
      add({ key: bytes('general.alignment'), type: 4, value: fixed(number, 4) }),
    ),
  ),
  gguf('one key twice', headerFault, (parts) => add(parts.keys[0])(parts)),
  gguf('2^40 tensors', headerFault, (parts) => Object.assign(parts, { tensorCount: 2n ** 40n })),
  gguf('2^63 keys', headerFault, (parts) => Object.assign(parts, { keyCount: 2n ** 63n })),
  gguf('tensors at one place', 'PARE_E_GGUF_TENSOR', ({ tensors }) =>
    Object.assign(tensors[1], { offset: 0n }),
  ),
  gguf('2^62 columns', headerFault, ({ tensors }) => Object.assign(tensors[0], { sizes: [2n ** 62n, 4n] })),
  gguf('300 axes', headerFault, ({ tensors }) => Object.assign(tensors[0], { axes: 300 })),
]

const model = (reader, fixtureName, name, expect, change) => {
  const files = fixtureFolder(`fixtures/${fixtureName}`)
  const config = JSON.parse(Buffer.from(files['config.json']).toString())
  change(config.quantization_config ?? config, config)
  return { reader, name, expect, files: { ...files, 'config.json': bytes(JSON.stringify(config)) } }
}
const patterns = (count, pattern) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`${pattern}${i}`, { bits: 4 }]))
const settings = [
  model('gptq', 'gptq-dynamic', '100,000 expressions', 'PARE_E_PATTERN', (quantization) =>
    Object.assign(quantization, { dynamic: patterns(100_000, 'a.*b.*c') }),
  ),
  model(
    'gptq',
    'gptq-dynamic',
    'an expression that goes back without end',
    'PARE_E_PATTERN',
    (quantization) => Object.assign(quantization, { dynamic: { '(([a-z_0-9.]+)+)+!': {} } }),
  ),
  model('gptq', 'gptq-dynamic', 'groups of 2^53', 'PARE_E_GPTQ_TENSOR', (quantization) =>
    Object.assign(quantization, { group_size: 2 ** 53 }),
  ),
  model('compressed-tensors', 'ct-group-3', '100,000 expressions that are ignored', 'ends', (quantization) =>
    Object.assign(quantization, { ignore: Array.from({ length: 100_000 }, (_, i) => `re:.*a.*${i}`) }),
  ),
  model('compressed-tensors', 'ct-group-3', 'many slow expressions', 'ends', (quantization) =>
    Object.assign(quantization, { ignore: Array(200).fill('re:([a-z]+[a-z.]*)+!') }),
  ),
  model('huggingface', 'llama-tied', '2^53 layers', 'PARE_E_', (config) =>
    Object.assign(config, { num_hidden_layers: 2 ** 53 }),
  ),
  model('huggingface', 'llama-tied', 'a billion layers', 'PARE_E_', (config) =>
    Object.assign(config, { num_hidden_layers: 1e9 }),
  ),
  model('huggingface', 'llama-tied', '2^40 positions', 'PARE_E_FORMAT', (config) =>
    Object.assign(config, { max_position_embeddings: 2 ** 40 }),
  ),
  model('spqr', 'spqr-csr', '2^40 columns', 'PARE_E_', (_, config) =>
    Object.assign(config, { hidden_size: 2 ** 40 }),
  ),
  model('mlx', 'mlx-4-f16', 'groups of 2^31', 'PARE_E_', (_, config) =>
    Object.assign(config, {
      quantization: { group_size: 2 ** 31, bits: 4 },
      quantization_config: { group_size: 2 ** 31, bits: 4 },
    }),
  ),
]

const noTensors = joinBytes(fixed(2, 8), bytes('{}'))
const tree = (depth) => {
  let weight = { kind: 'dense', shape: [32, 32], numberType: 'f32' }
  for (let i = 0; i < depth; i++) weight = { kind: 'scaled', shape: [32, 32], values: weight, rowType: 'f32' }
  return weight
}
const pare = (name, expect, weights, tensors = noTensors) => ({
  reader: 'pare-folder',
  name,
  expect,
  files: {
    'pare.json': bytes(JSON.stringify({ format: 'pare', version: 2, weights })),
    'model.safetensors': tensors,
  },
})
const emptyRows = (rows) => {
  const text = bytes(`{${tensor('w', 'F16', [rows, 0], 0, 0)}}`)
  return joinBytes(fixed(text.length, 8), text)
}
const wide = {
  kind: 'sum',
  shape: [32, 32],
  terms: Array(5000).fill({ kind: 'dense', shape: [32, 32], numberType: 'f32' }),
}
const pares = [
  pare('a tree 60 deep', 'PARE_E_', { w: tree(60) }),
  pare('a tree 20 deep', 'PARE_E_PARE_FOLDER', { w: tree(20) }),
  pare('a sum of 5,000 terms', 'PARE_E_PARE_FOLDER', { w: wide }),
  pare('2^52 rows of nothing', 'PARE_E_SHAPE', {}, emptyRows(2 ** 52)),
  pare('2^60 rows', 'PARE_E_PARE_FOLDER', { w: { kind: 'dense', shape: [2 ** 60, 32], numberType: 'f32' } }),
]

/** Files whose bytes become objects of many times as many. */
const many = (count, make) => Array.from({ length: count }, (_, i) => make(i)).join(',')
const large = [
  {
    reader: 'huggingface',
    name: '5 million empty lists in config.json',
    expect: 'PARE_E_JSON',
    get files() {
      return {
        ...fixtureFolder('fixtures/llama-tied'),
        'config.json': bytes(`{"a":[${many(5_000_000, () => '[]')}]}`),
      }
    },
  },
  {
    reader: 'safetensors',
    name: '300,000 tensors without bytes',
    expect: 'PARE_E_JSON',
    get files() {
      const header = bytes(`{${many(300_000, (i) => tensor(`${i}`, 'U8', [0], 0, 0))}}`)
      return { 'm.safetensors': joinBytes(fixed(header.length, 8), header) }
    },
  },
  {
    reader: 'gguf',
    name: 'a million keys of a byte',
    expect: headerFault,
    get files() {
      const pairs = Array.from({ length: 1_000_000 }, (_, i) => {
        const key = bytes(i.toString(36))
        return joinBytes(fixed(key.length, 8), key, fixed(0, 4), fixed(1, 1))
      })
      return {
        'm.gguf': joinBytes(
          bytes('GGUF'),
          fixed(3, 4),
          fixed(0, 8),
          fixed(pairs.length, 8),
          Buffer.concat(pairs),
        ),
      }
    },
  },
]

export const hostileModels = [...large, ...containers, ...indices, ...ggufs, ...settings, ...pares]
