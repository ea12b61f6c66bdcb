/** Makes the files that bench/formats.js opens: models in the shapes of a llama, their weights zeros. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openGguf } from '../dist/formats/gguf/container.js'
import { gguf } from '../dist/formats/gguf/metadata.js'
import { createGguf } from '../dist/formats/gguf/writer.js'
import { floatNumbers, node, value } from '../dist/formats/onnx/graph.js'
import { createOnnx } from '../dist/formats/onnx/writer.js'
import { pareJson } from '../dist/formats/pare_folder.js'
import { createSafetensors, createShardedSafetensors } from '../dist/formats/safetensors/writer.js'
import { configToHuggingFace } from '../dist/models/llama/config.js'
import { llamaGgufMetadata } from '../dist/models/llama/gguf_metadata.js'
import {
  blockMatrices,
  blockName,
  embeddingName,
  finalNormName,
  ggufName,
} from '../dist/models/llama/names.js'
import { tensorsOfStored } from '../dist/models/stored/pare_tensors.js'
import { blockTypeOf } from '../dist/nn/block_types.js'
import { torchFile } from './torch_file.js'
import { elementCount, zeroParts } from './zero_parts.js'

const GROUP = 128

/** A llama whose weights take at least so many bytes, at `bits` each. */
function llama(bytes, bits, { vocabulary, hidden, intermediate }, embeddingBits = 16) {
  const [headSize, kvHeads] = [64, Math.max(1, hidden / 256)]
  const shapes = {
    'self_attn.q_proj': [hidden, hidden],
    'self_attn.k_proj': [kvHeads * headSize, hidden],
    'self_attn.v_proj': [kvHeads * headSize, hidden],
    'self_attn.o_proj': [hidden, hidden],
    'mlp.gate_proj': [intermediate, hidden],
    'mlp.up_proj': [intermediate, hidden],
    'mlp.down_proj': [hidden, intermediate],
  }
  const ofBlock = Object.values(shapes).reduce((sum, [rows, columns]) => sum + rows * columns, 0)
  const blocks = Math.max(
    1,
    Math.ceil((bytes - (vocabulary * hidden * embeddingBits) / 8) / ((ofBlock * bits) / 8)),
  )
  const config = {
    architecture: 'llama',
    hidden,
    layers: Array.from({ length: blocks }, () => ({ heads: hidden / headSize, kvHeads, intermediate })),
    headSize,
    vocabulary,
    context: 8192,
    normEpsilon: 1e-5,
    rotaryBase: 500_000,
    rotaryScaling: { kind: 'none' },
    tied: true,
    attentionBias: false,
  }
  const plain = (name, shape) => ({ name, type: 'BF16', shape })
  const matrices = []
  const others = [plain(embeddingName, [vocabulary, hidden]), plain(finalNormName, [hidden])]
  for (let block = 0; block < blocks; block++) {
    for (const part of ['input_layernorm', 'post_attention_layernorm'])
      others.push(plain(blockName(block, part), [hidden]))
    for (const part of blockMatrices) matrices.push(plain(blockName(block, part), shapes[part]))
  }
  return { config, matrices, others }
}

const widths = { F32: 4, F16: 2, BF16: 2, I32: 4, U32: 4, I64: 8, U8: 1, I8: 1 }

/** Appends every tensor that has no data of its own. */
function fill(writer, tensors, bytesOf) {
  for (const tensor of tensors) {
    if (tensor.data) writer.append(tensor.name, tensor.data)
    else for (const part of zeroParts(bytesOf(tensor))) writer.append(tensor.name, part)
  }
  writer.finish()
}
const fillPlain = (writer, tensors) =>
  fill(writer, tensors, (tensor) => elementCount(tensor) * widths[tensor.type])

/** Config and weights of a Hugging Face folder; `shardBytes` none is one file. */
function folder(path, { config, tensors, settings, shardBytes }) {
  mkdirSync(path)
  const json = { ...configToHuggingFace(config), torch_dtype: 'bfloat16', quantization_config: settings }
  writeFileSync(join(path, 'config.json'), JSON.stringify(json))
  const writer = shardBytes
    ? createShardedSafetensors(path, tensors, { maxShardBytes: shardBytes })
    : createSafetensors(join(path, 'model.safetensors'), tensors)
  fillPlain(writer, tensors)
  return path
}

/** Tokens and merges as a byte-level tokenizer of `size` tokens has them, two merges a token. */
function tokenizerMetadata(size) {
  const name = (i) => `Ġ${i.toString(36)}`
  const tokens = Array.from({ length: size }, (_, i) => name(i))
  const merges = Array.from({ length: 2 * size }, (_, i) => `${name(i >> 1)} ${name(i % size)}`)
  return new Map([
    ['tokenizer.ggml.model', gguf.string('gpt2')],
    ['tokenizer.ggml.pre', gguf.string('llama-bpe')],
    ['tokenizer.ggml.tokens', gguf.strings(tokens)],
    ['tokenizer.ggml.token_type', gguf.i32s(new Int32Array(size).fill(1))],
    ['tokenizer.ggml.merges', gguf.strings(merges)],
    ['tokenizer.ggml.eos_token_id', gguf.u32(size - 1)],
  ])
}

/** A GGUF file; `tokenizer` is one whose metadata it takes, or how many tokens to make up. */
function ggufFile(path, { bytes, size, tokenizer }) {
  const own =
    typeof tokenizer === 'number'
      ? tokenizerMetadata(tokenizer)
      : new Map([...openGguf(tokenizer).metadata].filter(([key]) => key.startsWith('tokenizer.')))
  const vocabulary = own.get('tokenizer.ggml.tokens').value.length
  const { config, matrices, others } = llama(bytes, 4.5, { ...size, vocabulary }, 4.5)
  const tensors = [
    ...others.map((tensor) => ({ ...tensor, type: tensor.shape.length === 1 ? 'F32' : 'Q4_K' })),
    ...matrices.map((tensor) => ({ ...tensor, type: 'Q4_K' })),
  ].map((tensor) => ({ ...tensor, name: ggufName(tensor.name) }))
  const writer = createGguf(path, llamaGgufMetadata(config, 'bench', own), tensors)
  fill(writer, tensors, (tensor) => {
    const { blockLength, blockBytes } = blockTypeOf(tensor.type)
    return (elementCount(tensor) / blockLength) * blockBytes
  })
  return path
}

/** What a layer takes in a GPTQ checkpoint. */
function gptqTensors({ name, shape: [out, inputs] }) {
  const stem = name.replace(/\.weight$/, '')
  const groups = Math.ceil(inputs / GROUP)
  return [
    { name: `${stem}.qweight`, type: 'I32', shape: [inputs / 8, out] },
    { name: `${stem}.qzeros`, type: 'I32', shape: [groups, out / 8] },
    { name: `${stem}.scales`, type: 'F16', shape: [groups, out] },
    { name: `${stem}.g_idx`, type: 'I32', shape: [inputs] },
  ]
}
const gptqSettings = {
  quant_method: 'gptq',
  bits: 4,
  group_size: GROUP,
  desc_act: false,
  sym: true,
  checkpoint_format: 'gptq',
}

/** What a layer takes in a compressed-tensors checkpoint. */
function packedTensors({ name, shape: [out, inputs] }) {
  const stem = name.replace(/\.weight$/, '')
  const shape = new Uint8Array(BigInt64Array.of(BigInt(out), BigInt(inputs)).buffer)
  return [
    { name: `${stem}.weight_packed`, type: 'I32', shape: [out, inputs / 8] },
    { name: `${stem}.weight_scale`, type: 'BF16', shape: [out, Math.ceil(inputs / GROUP)] },
    { name: `${stem}.weight_shape`, type: 'I64', shape: [2], data: shape },
  ]
}
const packedSettings = {
  quant_method: 'compressed-tensors',
  version: '0.10.0',
  format: 'pack-quantized',
  quantization_status: 'compressed',
  ignore: ['lm_head'],
  config_groups: {
    group_0: {
      targets: ['Linear'],
      weights: { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: GROUP },
    },
  },
}

function pareFolder(path, { config, matrices, others }) {
  const describe = ({ shape }) => ({
    kind: 'grid',
    shape,
    bits: 4,
    groupSize: 64,
    symmetric: false,
    scaleType: 'f16',
    sorted: false,
  })
  const weights = new Map(matrices.map((matrix) => [matrix.name, describe(matrix)]))
  const tensors = [...others, ...[...weights].flatMap(([name, weight]) => tensorsOfStored(name, weight))]
  folder(path, { config, tensors })
  writeFileSync(join(path, 'pare.json'), JSON.stringify(pareJson(weights)))
  return path
}

/** A graph of products with their biases and activations, as exporters write them: some 20 nodes for two matrices. */
function onnxFile(path, { bytes, size: { hidden, intermediate }, externalData }) {
  const nodes = []
  const initializers = []
  let last = 'x'
  const step = (operation, ...more) => {
    const out = `v${nodes.length}`
    nodes.push(node(operation, [last, ...more], [out], {}, { name: `/model/${operation}_${nodes.length}` }))
    last = out
  }
  const blocks = Math.ceil(bytes / (8 * hidden * intermediate))
  for (let block = 0; block < blocks; block++)
    for (const [part, shape] of [
      ['up', [hidden, intermediate]],
      ['down', [intermediate, hidden]],
    ]) {
      initializers.push({ name: `layers.${block}.${part}.weight`, type: 'F32', shape })
      step('MatMul', `layers.${block}.${part}.weight`)
      for (let constant = 0; constant < 8; constant++) {
        const name = `layers.${block}.${part}.constant_${constant}`
        initializers.push(floatNumbers(name, [constant], []))
        step(constant % 2 === 0 ? 'Add' : 'Mul', name)
      }
      step('Tanh')
    }
  const model = {
    graph: {
      name: 'bench',
      inputs: [value('x', 'F32', ['batch', hidden])],
      outputs: [value(last, 'F32', ['batch', hidden])],
      nodes,
      initializers,
    },
    opsets: new Map([['', 17]]),
  }
  const later = initializers.filter(({ data }) => !data)
  fillPlain(createOnnx(path, model, { externalData }), later)
  return path
}

/**
 * A line for each kind of file: its name, how Pare opens it, which program opens it too, and how it is made.
 *
 * @param bytes least size of the weights
 * @param size widths of the model, and tokens of a made-up vocabulary
 * @param tokenizer a GGUF file whose tokenizer is taken, besides the one that is made up
 */
export function formatFiles({ bytes, size, tokenizer }) {
  const bf16 = llama(bytes, 16, { ...size, vocabulary: size.hidden })
  const coded = llama(bytes, 4.1, { ...size, vocabulary: size.hidden })
  const plain = [...bf16.others, ...bf16.matrices]
  const layers = (tensorsOf) => [...coded.others, ...coded.matrices.flatMap(tensorsOf)]
  const real = { bytes, size, tokenizer }
  const large = { bytes, size, tokenizer: size.tokens }
  return [
    ...(tokenizer
      ? [
          {
            name: 'GGUF, a real tokenizer',
            open: 'model',
            peer: 'gguf',
            make: (path) => ggufFile(`${path}.gguf`, real),
          },
        ]
      : []),
    {
      name: `GGUF, ${size.tokens} tokens, ${2 * size.tokens} merges`,
      open: 'model',
      peer: 'gguf',
      make: (path) => ggufFile(`${path}.gguf`, large),
    },
    {
      name: 'safetensors, one file',
      open: 'model',
      peer: 'safetensors',
      make: (path) => folder(path, { config: bf16.config, tensors: plain }),
    },
    {
      name: 'safetensors, shards',
      open: 'model',
      peer: 'safetensors',
      make: (path) => folder(path, { config: bf16.config, tensors: plain, shardBytes: bytes / 4 }),
    },
    { name: 'torch, zip', open: 'torch', make: (path) => torchFile(`${path}.bin`, plain) },
    { name: 'ONNX', open: 'onnx', peer: 'onnx', make: (path) => onnxFile(`${path}.onnx`, { bytes, size }) },
    {
      name: 'ONNX, external data',
      open: 'onnx',
      peer: 'onnx',
      make: (path) => {
        mkdirSync(path)
        return onnxFile(join(path, 'model.onnx'), { bytes, size, externalData: true })
      },
    },
    {
      name: 'GPTQ folder',
      open: 'model',
      peer: 'safetensors',
      make: (path) =>
        folder(path, { config: coded.config, tensors: layers(gptqTensors), settings: gptqSettings }),
    },
    {
      name: 'compressed-tensors folder',
      open: 'model',
      peer: 'safetensors',
      make: (path) =>
        folder(path, { config: coded.config, tensors: layers(packedTensors), settings: packedSettings }),
    },
    { name: 'Pare folder', open: 'model', peer: 'safetensors', make: (path) => pareFolder(path, coded) },
  ]
}
