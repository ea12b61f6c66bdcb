/**
 * Writes a llama model of random weights, for runs of a size that no model at hand has:
 *
 *   node bench/synthetic_model.js [--parameters 3b] [--blocks N] [--seed 0] FOLDER
 *
 * bf16 safetensors in shards, with a byte-level tokenizer of as many tokens as the model has. The same seed gives the
 * same bytes. `tiny` has the parts of the others in a second; `--blocks` leaves all but some blocks out, which shortens a
 * run and not its peak of memory.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from '../.ci/arguments.js'
import { createShardedSafetensors } from '../dist/formats/safetensors/writer.js'
import { byteLevelCharacters } from '../dist/formats/tokenizer/token_bytes.js'
import { configToHuggingFace } from '../dist/models/llama/config.js'
import { blockMatrices, blockName, embeddingName, finalNormName } from '../dist/models/llama/names.js'

/** Those of `3b` and `1b` are the shapes of Llama 3.2. */
const sizes = {
  '3b': {
    hidden: 3072,
    blocks: 28,
    intermediate: 8192,
    heads: 24,
    kvHeads: 8,
    headSize: 128,
    vocabulary: 128_256,
  },
  '1b': {
    hidden: 2048,
    blocks: 16,
    intermediate: 8192,
    heads: 32,
    kvHeads: 8,
    headSize: 64,
    vocabulary: 128_256,
  },
  tiny: { hidden: 64, blocks: 2, intermediate: 160, heads: 4, kvHeads: 2, headSize: 16, vocabulary: 600 },
}
const END = '<|end|>'

/** A generator of whole numbers below 2^32: xorshift32. */
function xorshift(seed) {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

/** bf16 bits of 65,536 equally likely values: quantiles of a normal distribution, by bisection of its integral. */
function normalValues(deviation) {
  const density = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI)
  const values = new Uint16Array(65_536)
  const single = new Float32Array(1)
  const bits = new Uint32Array(single.buffer)
  let [x, mass] = [-5, 0]
  const step = 1e-4
  for (let i = 0; i < values.length; i++) {
    const wanted = (i + 0.5) / values.length
    while (mass < wanted && x < 5) {
      mass += density(x + step / 2) * step
      x += step
    }
    single[0] = x * deviation
    values[i] = bits[0] >>> 16
  }
  return values
}

/** Random bytes of a tensor, some megabytes at a time. */
function* weightParts(count, next, values) {
  const part = new Uint16Array(Math.min(count, 4 << 20))
  for (let done = 0; done < count; done += part.length) {
    const length = Math.min(part.length, count - done)
    for (let i = 0; i < length; i++) part[i] = values[next() & 0xffff]
    yield new Uint8Array(part.buffer, 0, 2 * length)
  }
}

/** The bytes, the end of a text, and joined letters up to the size of the vocabulary. */
function tokenizerJson(vocabulary, next) {
  const tokens = [...byteLevelCharacters]
  const known = new Set(tokens)
  const letters = [...'etaoinshrdlucmfwygpbvk', 'Ġ']
  const parts = [...letters]
  const merges = []
  while (tokens.length < vocabulary - 1) {
    const [left, right] = [parts[next() % parts.length], parts[next() % parts.length]]
    const token = left + right
    if (token.length > 10 || token.indexOf('Ġ', 1) > 0 || known.has(token)) continue
    known.add(token)
    tokens.push(token)
    merges.push(`${left} ${right}`)
    if (token.length <= 5) parts.push(token)
  }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: vocabulary - 1,
        content: END,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries([...tokens, END].map((token, id) => [token, id])),
      merges,
    },
  }
}

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    parameters: { type: 'string', default: '3b' },
    blocks: { type: 'string' },
    seed: { type: 'string', default: '0' },
  },
})
const [folder] = positionals
const size = Object.hasOwn(sizes, flags.parameters) ? sizes[flags.parameters] : undefined
if (!folder || !size) {
  console.error(
    `usage: node bench/synthetic_model.js [--parameters ${Object.keys(sizes).join('|')}] [--seed N] FOLDER`,
  )
  process.exit(2)
}
const blocks = Number(flags.blocks ?? size.blocks)
const { hidden, intermediate, heads, kvHeads, headSize, vocabulary } = size
const shapes = {
  'self_attn.q_proj': [heads * headSize, hidden],
  'self_attn.k_proj': [kvHeads * headSize, hidden],
  'self_attn.v_proj': [kvHeads * headSize, hidden],
  'self_attn.o_proj': [hidden, heads * headSize],
  'mlp.gate_proj': [intermediate, hidden],
  'mlp.up_proj': [intermediate, hidden],
  'mlp.down_proj': [hidden, intermediate],
}
const infos = [
  { name: embeddingName, shape: [vocabulary, hidden] },
  ...Array.from({ length: blocks }, (_, block) => [
    { name: blockName(block, 'input_layernorm'), shape: [hidden] },
    { name: blockName(block, 'post_attention_layernorm'), shape: [hidden] },
    ...blockMatrices.map((part) => ({ name: blockName(block, part), shape: shapes[part] })),
  ]).flat(),
  { name: finalNormName, shape: [hidden] },
].map((info) => ({ ...info, type: 'BF16' }))

mkdirSync(folder, { recursive: true })
const next = xorshift(Number(flags.seed))
const normal = normalValues(0.02)
const ones = new Uint16Array(65_536).fill(0x3f80)
const writer = createShardedSafetensors(folder, infos, { maxShardBytes: 1.5e9 })
for (const { name, shape } of infos) {
  const count = shape.reduce((a, b) => a * b, 1)
  for (const bytes of weightParts(count, next, shape.length === 1 ? ones : normal)) writer.append(name, bytes)
}
writer.finish()
const config = configToHuggingFace({
  architecture: 'llama',
  hidden,
  layers: Array.from({ length: blocks }, () => ({ heads, kvHeads, intermediate })),
  headSize,
  vocabulary,
  context: 8192,
  normEpsilon: 1e-5,
  rotaryBase: 500_000,
  rotaryScaling: { kind: 'none' },
  tied: true,
  attentionBias: false,
})
const write = (name, value) => writeFileSync(join(folder, name), `${JSON.stringify(value)}\n`)
write('config.json', { ...config, torch_dtype: 'bfloat16', eos_token_id: vocabulary - 1 })
write('tokenizer.json', tokenizerJson(vocabulary, next))
write('tokenizer_config.json', { tokenizer_class: 'PreTrainedTokenizerFast', eos_token: END })
