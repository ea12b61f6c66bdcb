import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openOnnx } from '../../formats/onnx/onnx.ts'
import { affineGrid } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import { fixturePath, numbers } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import { onnxSource } from '../onnx/onnx_source.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { type OnnxTargetOptions, planOnnx } from './onnx_target.ts'
import { differences, reopened, rounded, sizeOf, writeAll, writeWideModel } from './sources.suite.ts'

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onnx-target-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide'), { type: 'F16', tied: true }))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})

const stored = { type: 'F16' } as const
const half = { activations: 'F16' } as const
const settings: [string, string, OnnxTargetOptions][] = [
  ['f32', 'model.onnx', {}],
  ['f16', 'model.onnx', stored],
  ['f16 arithmetic', 'model.onnx', half],
  ['f32 beside the graph', 'model.onnx', { externalData: true }],
  ['4 bits', 'model.onnx', { grid: affineGrid({ groupSize: 32 }) }],
  ['4 bits in the middle', 'model.onnx', { grid: affineGrid({ groupSize: 16, symmetric: true }) }],
  ['8 bits', 'model.onnx', { grid: affineGrid({ bits: 8, groupSize: 128 }) }],
  ['a group a row', 'model.onnx', { grid: affineGrid({ groupSize: 'row' }) }],
  ['scales in f32', 'model.onnx', { grid: affineGrid({ scaleType: 'f32' }) }],
  ['fp32', 'onnx/model.onnx', { layout: 'transformers.js' }],
  ['fp16', 'onnx/model_fp16.onnx', { ...stored, layout: 'transformers.js' }],
  ['fp16 arithmetic', 'onnx/model_fp16.onnx', { ...half, layout: 'transformers.js' }],
  ['4 bits and f16', 'model.onnx', { ...stored, grid: affineGrid() }],
  ['q4', 'onnx/model_q4.onnx', { grid: affineGrid(), layout: 'transformers.js' }],
  ['q4f16', 'onnx/model_q4f16.onnx', { ...half, grid: affineGrid(), layout: 'transformers.js' }],
  ['q8', 'onnx/model_quantized.onnx', { grid: affineGrid({ bits: 8 }), layout: 'transformers.js' }],
  [
    'q8 and f16',
    'onnx/model_quantized.onnx',
    { ...stored, grid: affineGrid({ bits: 8 }), layout: 'transformers.js' },
  ],
]

test.each(settings)(
  '%s: the folder holds what the sweep decided, bit for bit, and has the planned size',
  (name, file, options) => {
    const target = join(folder, name)
    const plan = planOnnx(onnxSource(wide), options)
    plan.check()
    const decided = writeAll(wide, plan, {}, target)
    const data = options.externalData ? sizeOf(join(target, `${file}_data`)) : 0
    expect(sizeOf(join(target, file)) + data).toBe(plan.fileBytes)
    expect(decided.size).toBe(options.grid ? 7 : 0)
    reopened(target, ({ weights, format, model, tokenizer }) => {
      expect(format).toBe('onnx')
      expect(model.config).toEqual(wide.model.config)
      expect(tokenizer().encode('a b')).toEqual(wide.tokenizer().encode('a b'))
      for (const [part, values] of decided) expect(differences(numbers(weights.load(part)), values)).toBe(0)
      for (const { name: part, grid, bytes, type } of plan.tensors) {
        expect(weights.infos.get(part)!.bytes).toBe(bytes)
        if (grid) continue
        expect(weights.infos.get(part)!.type).toBe(type)
        const kept = rounded(wide.weights.load(part), type)
        expect(differences(numbers(weights.load(part)), kept)).toBe(0)
      }
      // Nothing but weights: the constants of the graph are none.
      expect([...weights.infos.keys()].toSorted()).toEqual([...wide.weights.infos.keys()].toSorted())
    })
  },
)

test('codes of a block stand in its bytes from the low nibble on, and a row of blocks after the other', () => {
  const target = join(folder, 'codes')
  const grid = affineGrid({ groupSize: 32, symmetric: true })
  writeAll(wide, planOnnx(onnxSource(wide), { grid }), {}, target)
  const name = 'model.layers.0.mlp.up_proj.weight'
  const archive = openOnnx(join(target, 'model.onnx'))
  const bytes = archive.read(`${name}_Q4`)
  expect(archive.tensors.get(`${name}_Q4`)!.shape).toEqual([256, 8, 16])
  archive.close()
  reopened(target, ({ weights }) => {
    const values = weights.stored!(name)
    if (values?.kind !== 'grid') throw new Error('no grid')
    const codes = values.codes.bytes()
    for (let byte = 0; byte < bytes.length; byte++) {
      expect(bytes[byte]! & 15).toBe(codes[2 * byte])
      expect(bytes[byte]! >> 4).toBe(codes[2 * byte + 1])
    }
  })
})

const graphOf = (path: string) => {
  const archive = openOnnx(path)
  archive.close()
  return archive.parsed.model.graph
}

test.each([
  ['f16 arithmetic', half, 'F16'],
  ['weights in f16', stored, 'F32'],
] as const)(
  '%s: a decoder takes ids, mask, positions and a cache, and gives logits and the cache',
  (name, options, type) => {
    const target = join(folder, `names of ${name}`)
    writeAll(wide, planOnnx(onnxSource(wide), options), {}, target)
    const { inputs, outputs, initializers } = graphOf(join(target, 'model.onnx'))
    const ids = { type: 'I64', shape: ['batch_size', 'sequence_length'] }
    const cache = (length: string) => ({ type, shape: ['batch_size', 2, length, 64] })
    expect(inputs).toEqual([
      { name: 'input_ids', ...ids },
      { name: 'attention_mask', type: 'I64', shape: ['batch_size', 'total_sequence_length'] },
      { name: 'position_ids', ...ids },
      { name: 'past_key_values.0.key', ...cache('past_sequence_length') },
      { name: 'past_key_values.0.value', ...cache('past_sequence_length') },
    ])
    expect(outputs).toEqual([
      { name: 'logits', type: 'F32', shape: ['batch_size', 'sequence_length', 32] },
      { name: 'present.0.key', ...cache('total_sequence_length') },
      { name: 'present.0.value', ...cache('total_sequence_length') },
    ])
    // The head is the embedding, which is stored once.
    expect(initializers.filter(({ shape: [rows, columns] }) => rows === 32 && columns === 256)).toHaveLength(
      1,
    )
  },
)

test('weights that are stored in f16 are cast once each, an embedding that is no head after its rows are taken', () => {
  const embedding = 'model.embed_tokens.weight'
  for (const tied of [true, false]) {
    const source = openLanguageModel(writeWideModel(join(folder, `casts ${tied}`), { type: 'F16', tied }))
    const target = join(folder, `cast ${tied}`)
    // Small as it is, it would stay f32.
    const choices = new Map([[embedding, { scheme: 'F16', by: 'overrides[0]' } as const]])
    const plan = planOnnx(onnxSource(source), { ...stored, choices })
    writeAll(source, plan, {}, target)
    source.close()
    const { nodes, initializers } = graphOf(join(target, 'model.onnx'))
    const narrow = new Set(initializers.filter(({ type }) => type === 'F16').map(({ name }) => name))
    expect([...narrow].toSorted()).toEqual(
      plan.tensors.flatMap(({ name, type }) => (type === 'F16' ? [name] : [])).toSorted(),
    )
    expect(narrow.has(embedding)).toBe(true)
    const takers = nodes.filter(({ inputs }) => inputs.some((name) => narrow.has(name)))
    expect(takers).toHaveLength(narrow.size)
    for (const { opType, inputs } of takers)
      expect(opType).toBe(!tied && inputs[0] === embedding ? 'Gather' : 'Cast')
  }
})

test('what a file computes in is noted, and what is rounded to f16', () => {
  const notes = (options: OnnxTargetOptions) => planOnnx(onnxSource(wide), options).notes
  expect(notes({})).toEqual([])
  expect(notes(stored)).toEqual(['numbers are stored in f16, small weights in f32; all is computed in f32'])
  expect(notes(half)).toEqual([expect.stringMatching(/^computed in f16, .* logits differ by some 1e-3/)])
  const codes = openLanguageModel(fixturePath('awq'))
  expect(planOnnx(onnxSource(codes), stored).notes[1]).toMatch(
    /^[0-9]+ weights of awq-4bit.* are rounded to f16/,
  )
  codes.close()
})

test('transformers.js is told the type of the file, that of the cache, and how many files are beside it', () => {
  const target = join(folder, 'told')
  const options = { ...half, grid: affineGrid(), layout: 'transformers.js', externalData: true } as const
  const chunked = { ...options, maxChunkBytes: 50_000 }
  writeAll(wide, planOnnx(onnxSource(wide), chunked), {}, target)
  const { 'transformers.js_config': told } = JSON.parse(readFileSync(join(target, 'config.json'), 'utf8'))
  const data = readdirSync(join(target, 'onnx')).filter((name) => name.startsWith('model_q4f16.onnx_data'))
  expect(data.length).toBeGreaterThan(1)
  expect(told).toEqual({
    dtype: 'q4f16',
    kv_cache_dtype: { q4f16: 'float16' },
    use_external_data_format: { 'model_q4f16.onnx': data.length },
  })
  // The configuration of the source names no tokens.
  expect(JSON.parse(readFileSync(join(target, 'generation_config.json'), 'utf8'))).toEqual({})
  for (const { offset } of openAt(join(target, 'onnx', 'model_q4f16.onnx'), data))
    expect(offset % 4096).toBe(0)
})

function openAt(path: string, files: readonly string[]) {
  const archive = openOnnx(path)
  archive.close()
  return [...archive.tensors.values()].filter(({ file }) => files.some((name) => file.endsWith(name)))
}

test('single weights may be kept as numbers, or have a grid of their own', () => {
  const target = join(folder, 'choices')
  const [kept, fine] = ['model.layers.0.mlp.down_proj.weight', 'model.layers.0.mlp.up_proj.weight']
  const choices = new Map([
    [kept, { keep: true, by: 'overrides[0]' }],
    [fine, { grid: affineGrid({ bits: 8, groupSize: 32 }), by: 'overrides[1]' }],
  ])
  writeAll(wide, planOnnx(onnxSource(wide), { grid: affineGrid(), choices }), {}, target)
  reopened(target, ({ weights }) => {
    expect(weights.infos.get(kept)!.type).toBe('F32')
    expect(differences(numbers(weights.load(kept)), numbers(wide.weights.load(kept)))).toBe(0)
    expect(weights.infos.get(fine)!.type).toBe('onnx-8bit')
  })
})

test('what MatMulNBits or transformers.js has not is refused in the plan', () => {
  const source = onnxSource(wide)
  const embedding = new Map([['model.embed_tokens.weight', { grid: affineGrid(), by: 'overrides[0]' }]])
  const scheme = new Map([['model.layers.0.mlp.up_proj.weight', { scheme: 'Q4_K', by: 'x' } as const]])
  for (const [options, message] of [
    [{ grid: affineGrid({ bits: 3 }) }, /up_proj|q_proj.*2, 4 or 8 bits, got 3/],
    [{ grid: affineGrid({ groupSize: 48 }) }, /blocks of 16, 32, 64, 128 or 256, got 48/],
    [{ ...half, grid: affineGrid({ scaleType: 'f32' }) }, /scales are stored in f16/],
    [{ ...half, type: 'F32' }, /activations: F16 goes with weights in F16, got weights in F32/],
    [
      { grid: affineGrid({ bits: 8 }), ...half, layout: 'transformers.js' },
      /8 bits in f32, got 8 bits in f16/,
    ],
    [{ choices: embedding }, /embed_tokens.*only the matrices of products/],
    [{ choices: scheme }, /got Q4_K for .*up_proj/],
  ] as const) {
    expect(() => planOnnx(source, options)).toThrow(OptionError)
    expect(() => planOnnx(source, options)).toThrow(message)
  }
})

test('sorted columns are refused where they are written', () => {
  const plan = planOnnx(onnxSource(wide), { grid: affineGrid() })
  expect(() => writeAll(wide, plan, { sorted: true }, join(folder, 'sorted'))).toThrow(
    /columns that were sorted/,
  )
})

test('transformers.js gets no folder without a tokenizer', () => {
  const bare = openLanguageModel(fixturePath('mistral'))
  const plan = planOnnx(onnxSource(bare), { layout: 'transformers.js' })
  expect(() => plan.check()).toThrow(/transformers.js needs tokenizer.json/)
  bare.close()
})
