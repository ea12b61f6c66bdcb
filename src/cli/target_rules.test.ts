/** What programs ask for is refused before any weight is read; each rule has what it refuses and what it lets pass. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLanguageModel } from '../models/load_model.ts'
import { affineGrid } from '../nn/grid.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import { plan } from '../run/plan.ts'
import { checkRuntime, checkSource, runtimeNotes } from '../run/runtime_rules.ts'
import { planLayout } from '../run/target_plan.ts'
import { chosenTarget, type TargetName } from '../run/targets.ts'
import { OptionError } from '../tensor/errors.ts'
import { writeTinyFolder } from './tiny_model.suite.ts'

const folder = mkdtempSync(join(tmpdir(), 'runtime-rules-'))
let source: string
beforeAll(() => {
  source = writeTinyFolder(join(folder, 'tiny'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const planned = (options: Partial<CompressOptions>) => plan({ source, probe: false, ...options })
const q = 'model.layers.0.self_attn.q_proj.weight'
const qkv = 're:layers\\.0\\.self_attn\\.[qkv]_proj'

/** A rule, what breaks it with the message, and what is let through. */
const rules: [string, Partial<CompressOptions>, RegExp, Partial<CompressOptions>][] = [
  [
    'vLLM: widths',
    { target: 'vllm', bits: 3 },
    /^--bits: vLLM needs 4 or 8 bits in compressed-tensors, got 3; choose one of them, or --target transformers or mlx$/,
    { target: 'vllm', bits: 8 },
  ],
  [
    'vLLM: widths of AWQ',
    { target: 'vllm', format: 'awq', bits: 8 },
    /^--bits: vLLM needs 4 bits in awq, got 8/,
    { target: 'vllm', format: 'awq', bits: 4 },
  ],
  [
    'vLLM: groups',
    { target: 'vllm', groupSize: 16 },
    /^--group-size: vLLM needs groups of 128, 64, 32 or row in compressed-tensors, got 16; .* --target pare/,
    { target: 'vllm', groupSize: 'row' },
  ],
  [
    'vLLM: zeros of 8 bits',
    { target: 'vllm', bits: 8, symmetric: false },
    /^--symmetric: vLLM needs symmetric levels, or 4 bits, in compressed-tensors, got 8 bits with zeros/,
    { target: 'vllm', bits: 4, symmetric: false },
  ],
  [
    'vLLM: zeros of GPTQ',
    { target: 'vllm', format: 'gptq', symmetric: false },
    /^--symmetric: vLLM needs symmetric levels in gptq, got 4 bits with zeros; leave --no-symmetric out/,
    { target: 'transformers', format: 'gptq', symmetric: false },
  ],
  [
    'vLLM: parts of a fused matrix',
    { target: 'vllm', overrides: [{ match: q, bits: 8 }] },
    /^overrides\[0\]: vLLM computes .*q_proj.* as one matrix and needs them stored alike, got .*; ask for the same for all of them$/,
    { target: 'vllm', overrides: [{ match: qkv, bits: 8 }] },
  ],
  [
    'vLLM: parts of a fused matrix that are left as they are',
    { target: 'vllm', format: 'awq', overrides: [{ match: q, keep: true }] },
    /^overrides\[0\]: vLLM computes .* got .*F16 for /,
    { target: 'transformers', format: 'awq', overrides: [{ match: q, keep: true }] },
  ],
  [
    'vLLM: levels of an override',
    { target: 'vllm', overrides: [{ match: qkv, bits: 3 }] },
    /^overrides\[0\]\.bits: vLLM needs 4 or 8 bits/,
    { target: 'transformers', overrides: [{ match: qkv, bits: 3 }] },
  ],
  [
    'mlx: groups',
    { target: 'mlx', groupSize: 'row' },
    /^--group-size: mlx needs groups of 64, 32 or 128 in mlx, got row/,
    { target: 'mlx', groupSize: 32 },
  ],
  [
    'formats whose groups are neighbours',
    { target: 'mlx', actOrder: true, staticGroups: false },
    /^--static-groups: an MLX folder has groups of neighbouring columns, .* choose --target gptq or pare$/,
    { target: 'vllm', format: 'gptq', actOrder: true, staticGroups: false },
  ],
  [
    'block types',
    { target: 'vllm', scheme: 'Q4_K' },
    /^--scheme: names types of GGUF files; --target vllm takes --bits/,
    { target: 'llama.cpp', scheme: 'Q4_K' },
  ],
  [
    'levels for block types',
    { target: 'llama.cpp', bits: 4 },
    /^--bits: GGUF files have named types/,
    { target: 'transformers', bits: 2 },
  ],
  [
    'the embedding',
    { target: 'mlx', embedding: 'Q8_0' },
    /^--embedding: an MLX folder keeps the embedding in half floats; leave it out$/,
    { target: 'llama.cpp', embedding: 'Q8_0' },
  ],
  [
    'types of single weights',
    { target: 'vllm', overrides: [{ match: q, scheme: 'Q8_0' }] },
    /^overrides\[0\]\.scheme: names types of GGUF files, which a compressed-tensors checkpoint does not hold/,
    { target: 'llama.cpp', overrides: [{ match: q, scheme: 'Q8_0' }] },
  ],
  [
    'one grid for all',
    { target: 'vllm', format: 'gptq', overrides: [{ match: qkv, bits: 8 }] },
    /^overrides\[0\]: a GPTQ checkpoint has one form for all of its linear weights/,
    { target: 'mlx', overrides: [{ match: q, bits: 8 }] },
  ],
  [
    'a size for one grid',
    { target: 'transformers', format: 'awq', limits: { targetBpw: 8 } },
    /^--target-bpw: an AWQ checkpoint has one bit width for all weights/,
    { target: 'mlx', limits: { targetBpw: 8 } },
  ],
  [
    'levels of a size',
    { target: 'vllm', levels: [3, 4], limits: { targetBpw: 8 } },
    /^--levels: there is no 3 for --target vllm; possible are 4, 8$/,
    { target: 'transformers', levels: [3, 4], limits: { targetBpw: 6.7 } },
  ],
  [
    'shards of one file',
    { target: 'llama.cpp', shardSize: 1e6 },
    /^--shard-size: shards are for folders of safetensors, got 1000000 bytes for llama\.cpp, which is one file/,
    { target: 'mlx', shardSize: 50_000 },
  ],
  [
    'importance of inputs for levels',
    { target: 'mlx', method: 'rtn', imatrix: 'i.gguf' },
    /^--imatrix: weighs the fits of block types, and --target mlx has evenly spaced levels/,
    { target: 'llama.cpp', method: 'rtn' },
  ],
]
test.each(rules)('%s: %j is refused and the other passes', async (_, broken, message, kept) => {
  const error = await planned(broken).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(OptionError)
  expect((error as Error).message).toMatch(message)
  expect((await planned(kept)).bytes).toBeGreaterThan(0)
})

describe('shapes', () => {
  const matrix = (name: string, shape: number[], grid = affineGrid({ symmetric: true })) => ({
    name: `model.layers.0.${name}.weight`,
    shape,
    role: 'matrix' as const,
    sourceType: 'F16',
    type: '4 bits',
    grid,
    kept: false,
    bytes: 0,
  })
  test('outputs that do not fill a word are refused for vLLM, and for nobody else', () => {
    const tensors = [matrix('mlp.down_proj', [12, 128])]
    const check = (name: TargetName) => () => checkRuntime({ tensors }, chosenTarget(name))
    expect(check('vllm')).toThrow(
      /down_proj\.weight: vLLM needs outputs that 8 divides at 4 bits, got 12; keep/,
    )
    for (const name of ['transformers', 'mlx', 'pare'] as const) expect(check(name)).not.toThrow()
  })
  test('a slower kernel is told of where tiles do not divide the fused matrix, and only for vLLM', () => {
    const notes = (shapes: [string, number[]][], name: TargetName = 'vllm') =>
      runtimeNotes({ tensors: shapes.map(([part, shape]) => matrix(part, shape)) }, chosenTarget(name))
    const narrow: [string, number[]][] = [['mlp.down_proj', [64, 192]]]
    expect(notes(narrow).join()).toMatch(
      /^vLLM before 0\.24\.0 computes 1 of 1 linear weights with a slower kernel/,
    )
    expect(notes(narrow, 'transformers')).toEqual([])
    // 32 + 16 + 16 outputs are 64 together.
    const parts = (['q', 'k', 'v'] as const).map((part, i): [string, number[]] => [
      `self_attn.${part}_proj`,
      [i === 0 ? 32 : 16, 128],
    ])
    expect(notes(parts)).toEqual([])
    expect(notes(parts.slice(0, 2)).join()).toMatch(/computes 2 of 2/)
  })
  test('blocks of other widths are refused where config.json has no words for them', () => {
    const block = { heads: 4, kvHeads: 2, intermediate: 128 }
    const model = (layers: object[]) => ({ model: { config: { layers } } }) as never
    const check = (name: TargetName) => () =>
      checkSource(model([block, { ...block, intermediate: 96 }]), chosenTarget(name))
    expect(check('mlx')).toThrow(
      /^--target mlx: mlx-lm and LM Studio needs blocks of the same widths, got .* 128 inside in block 0 and .* 96 inside in block 1; choose --target pare or llama\.cpp$/,
    )
    for (const name of ['llama.cpp', 'pare', 'gptq'] as const) expect(check(name)).not.toThrow()
    expect(() => checkSource(model([block, block]), chosenTarget('mlx'))).not.toThrow()
  })
})

test('zeros that transformers takes only when it is told to come with what to tell it', async () => {
  const notes = async (symmetric: boolean) =>
    (await planned({ target: 'transformers', symmetric })).notes.join()
  expect(await notes(false)).toContain(
    'zeros: compressed-tensors needs CompressedTensorsConfig(dequantize=True) for them when the folder is loaded',
  )
  expect(await notes(true)).not.toContain('zeros:')
})

describe('what nobody asked for', () => {
  const groupsOf = async (options: Partial<CompressOptions>) => {
    const { tensors, notes, recipe } = await planned(options)
    return {
      types: new Set(tensors.flatMap(({ role, type }) => (role === 'matrix' ? [type] : []))),
      notes: notes.filter((note) => note.includes('chosen for')),
      step: recipe.steps![0],
    }
  }
  test('groups are the largest that divide all rows, and the plan says so', async () => {
    // Rows are 64 and 128 wide.
    expect(await groupsOf({ target: 'vllm' })).toMatchObject({
      types: new Set(['4 bits, groups of 64, symmetric']),
      notes: [
        expect.stringMatching(
          /^4 bits, groups of 64, symmetric: chosen for vLLM, of groups of 128, 64, 32, a row/,
        ),
      ],
      step: { groupSize: 64, symmetric: true, staticGroups: true },
    })
    expect((await groupsOf({ target: 'vllm', groupSize: 32 })).notes).toEqual([])
  })
  test('rows whose groups an override names do not decide', async () => {
    const overrides = [{ match: 're:(?<!down)_proj', groupSize: 32 }]
    const { types } = await groupsOf({ target: 'transformers', symmetric: false, overrides })
    expect(types).toEqual(new Set(['4 bits, groups of 32', '4 bits, groups of 128']))
  })
  test('groups that were asked for stay, also where they do not fit', async () => {
    await expect(planned({ target: 'vllm', groupSize: 128 })).rejects.toThrow(
      /--group-size 128: .* needs groups that divide the rows, got rows of 64/,
    )
  })
})

test('a layout is planned for weights from anywhere, by the same rules', () => {
  const open = openLanguageModel(source)
  try {
    const grid = affineGrid({ symmetric: true })
    const layout = (bits: 4 | 8, name: string) =>
      planLayout(open, chosenTarget('vllm', 'compressed-tensors'), {
        grid,
        choices: new Map([[name, { grid: { ...grid, bits }, by: 'the source' }]]),
      })
    expect(layout(8, 'model.layers.0.mlp.down_proj.weight').target).toBe('compressed-tensors')
    expect(() => layout(8, q)).toThrow(/vLLM computes/)
  } finally {
    open.close()
  }
})
