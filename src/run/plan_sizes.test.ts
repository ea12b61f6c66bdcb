/** The plan's sizes against the files: the whole of them, and every tensor by the header of the file itself. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openGguf } from '../formats/gguf/container.ts'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { huggingFaceName } from '../models/llama/names.ts'
import { writeWideModel } from '../models/write/sources.suite.ts'
import { randomStream } from '../tensor/index.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { plan } from './plan.ts'

let folder: string
let text: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'plan-sizes-test-'))
  writeWideModel(join(folder, 'wide'))
  writeWideModel(join(folder, 'tied'), { tied: true })
  writeWideModel(join(folder, 'half'), { type: 'F16' })
  text = join(folder, 'text.txt')
  const words = randomStream(1, 'text').bits([600]).toArray() as Uint32Array
  writeFileSync(text, Array.from(words, (word) => 'abcdefghijklmnopqrstuvwxy \n'[word % 27]).join(''))
})
afterAll(() => rmSync(folder, { recursive: true }))

/** `wide`, `tied` and `half` are folders with rows of 256; the rest are fixtures. */
const sourceOf = (name: string) =>
  ['wide', 'tied', 'half'].includes(name) ? join(folder, name) : fixturePath(name as never)

const isWeights = (name: string) => /\.(gguf|safetensors)$/.test(name)

/** Bytes of each tensor by the name that the plan gives it, from where the header says it begins and ends. */
function storedBytes(path: string): Map<string, number> {
  return path.endsWith('.gguf') ? ggufBytes(path) : safetensorsBytes(path)
}

function safetensorsBytes(path: string): Map<string, number> {
  const file = readFileSync(path)
  const length = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<
    string,
    { data_offsets: [number, number] }
  >
  const bytes = new Map<string, number>()
  for (const [name, { data_offsets: offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const whole = name
      .replace(/\.(codes|scales|zeros|group_of|blocks)$/, (part) => (name.includes('.weight.') ? '' : part))
      .replace(/\.(qweight|qzeros|scales|g_idx)$/, '.weight')
    bytes.set(whole, (bytes.get(whole) ?? 0) + offsets[1] - offsets[0])
  }
  return bytes
}

/** GGUF says where a tensor begins; less than 32 bytes of padding stand before the next one. */
function ggufBytes(path: string): Map<string, number> {
  const archive = openGguf(path)
  try {
    const entries = [...archive.tensors.values()].toSorted((a, b) => a.offset - b.offset)
    const ends = [...entries.slice(1).map(({ offset }) => offset), statSync(path).size]
    return new Map(
      entries.flatMap(({ name, bytes, offset }, i) => {
        const padding = ends[i]! - offset - bytes
        expect(padding >= 0 && padding < 32, name).toBe(true)
        const known = huggingFaceName(name)
        return known === undefined ? [] : [[known, bytes] as const]
      }),
    )
  } finally {
    archive.close()
  }
}

const recipes: [string, source: string, Partial<CompressOptions>][] = [
  ['GGUF, K type, untied', 'wide', { target: 'gguf', scheme: 'Q4_K' }],
  ['GGUF, tied, embedding of its own', 'tied', { target: 'gguf', scheme: 'Q3_K', embedding: 'Q8_0' }],
  ['GGUF, rows that 256 does not divide', 'llama-f16.gguf', { target: 'gguf', scheme: 'Q4_K' }],
  ['GGUF, embedding as it was', 'llama-f16.gguf', { target: 'gguf', scheme: 'IQ4_NL', embedding: 'keep' }],
  ['GGUF, biases', 'qwen2-f16.gguf', { target: 'gguf', scheme: 'Q8_0' }],
  ['GGUF, rotary divisors', 'llama-rope-freqs-f16.gguf', { target: 'gguf', scheme: 'Q5_1' }],
  [
    'GGUF, overrides and what is kept',
    'llama-f32.gguf',
    {
      target: 'gguf',
      scheme: 'Q4_0',
      overrides: [
        { match: 'model.layers.0.**', keep: true },
        { match: 're:down_proj', scheme: 'Q5_K' },
        { match: 'model.embed_tokens', scheme: 'BF16' },
      ],
    },
  ],
  [
    'GGUF, steps that take a part of the weights',
    'wide',
    {
      target: 'gguf',
      steps: [
        { method: 'rtn', scheme: 'Q6_K', only: ['re:self_attn'] },
        { method: 'gptq', scheme: 'Q2_K', only: ['re:mlp'], actOrder: true },
      ],
    },
  ],
  ['GPTQ, 4 bits', 'wide', { target: 'gptq', bits: 4 }],
  ['GPTQ, 3 bits, one group a row', 'half', { target: 'gptq', bits: 3, groupSize: 'row', symmetric: true }],
  [
    'GPTQ, act-order with groups along it',
    'tied',
    { target: 'gptq', method: 'gptq', bits: 2, groupSize: 32, staticGroups: false },
  ],
  [
    'GPTQ, a weight that is kept',
    'wide',
    { target: 'gptq', bits: 8, groupSize: 128, overrides: [{ match: 're:o_proj', keep: true }] },
  ],
  ['Pare, groups that do not divide the rows', 'llama-f16.gguf', { bits: 3, groupSize: 24 }],
  ['Pare, shards as a source', 'llama-untied', { bits: 8, groupSize: 16, embedding: 'F16' }],
  ['Pare, symmetric, one group a row', 'tied', { bits: 2, groupSize: 'row', symmetric: true }],
  ['Pare, groups along act-order', 'wide', { method: 'gptq', bits: 4, staticGroups: false }],
  [
    'Pare, overrides of every kind',
    'half',
    {
      bits: 4,
      embedding: 'Q6_K',
      overrides: [
        { match: 're:q_proj', bits: 8, groupSize: 32 },
        { match: 're:k_proj', bits: 2, symmetric: true },
        { match: 're:down_proj', scheme: 'Q3_K' },
        { match: 're:up_proj', keep: true },
        { match: 'lm_head', scheme: 'F32' },
      ],
    },
  ],
  ['Pare, a step for some weights', 'half', { steps: [{ method: 'rtn', bits: 3, only: ['re:mlp'] }] }],
  ['Pare, from a GPTQ checkpoint', 'llama-gptq-3', { bits: 2, groupSize: 32 }],
]

let count = 0
test.each(recipes)(
  '%s: the plan has the bytes of the file and of every tensor in it',
  async (_, name, extra) => {
    const options: CompressOptions = {
      source: sourceOf(name),
      output: join(folder, `out-${++count}`),
      ...(extra.steps ? {} : { method: 'rtn' }),
      calibration: [text],
      samples: 2,
      length: 64,
      evaluate: false,
      probe: false,
      ...extra,
    }
    const planned = await plan(options)
    await compress(options)
    const files = readdirSync(options.output).filter(isWeights)
    const paths = files.map((file) => join(options.output, file))
    expect(paths.reduce((sum, path) => sum + statSync(path).size, 0)).toBe(planned.bytes)
    const stored = new Map(paths.flatMap((path) => [...storedBytes(path)]))
    expect(Object.fromEntries(stored)).toEqual(
      Object.fromEntries(planned.tensors.map((tensor) => [tensor.name, tensor.bytes])),
    )
  },
)
test('a matrix of 256 x 256 in 3 bits takes 24 words a row, four scales, and four zeros in a word', async () => {
  const planned = await plan({ source: sourceOf('wide'), bits: 3, method: 'rtn', probe: false })
  const { bytes } = planned.tensors.find(
    (tensor) => tensor.name === 'model.layers.0.self_attn.q_proj.weight',
  )!
  expect(bytes).toBe(256 * (24 * 4 + 4 * 2 + 4))
})
