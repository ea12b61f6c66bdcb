import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { affineGrid } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import { distance, numbers, openFixture } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { type GptqTargetOptions, planGptq } from './gptq_target.ts'
import { differences, reopened, rounded, sizeOf, writeAll, writeWideModel } from './sources.suite.ts'
import { folderSource } from './target.ts'

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gptq-target-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide')))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})

const grid = (options: Parameters<typeof affineGrid>[0] = {}) => affineGrid({ zeroLow: 1, ...options })
const settings: [string, GptqTargetOptions][] = [
  ...([2, 3, 4, 8] as const).map((bits): [string, GptqTargetOptions] => [
    `${bits} bits`,
    { grid: grid({ bits }), actOrder: false },
  ]),
  ['one group a row', { grid: grid({ bits: 3, groupSize: 'row' }), actOrder: false }],
  ['symmetric', { grid: grid({ groupSize: 128, symmetric: true }), actOrder: false }],
  ['act-order', { grid: grid({ groupSize: 32 }), actOrder: true }],
  ['act-order with static groups', { grid: grid({ groupSize: 32 }), actOrder: true, staticGroups: true }],
  [
    'version 2',
    { grid: affineGrid({ bits: 3, groupSize: 32 }), actOrder: false, checkpointFormat: 'gptq_v2' },
  ],
]

test.each(settings)(
  '%s: the folder holds what the sweep decided, bit for bit, and has the planned size',
  (name, options) => {
    const target = join(folder, name)
    const plan = planGptq(folderSource(wide), options)
    const { actOrder, staticGroups = false } = options
    const decided = writeAll(wide, plan, { sorted: actOrder, staticGroups }, target)
    expect(sizeOf(join(target, 'model.safetensors'))).toBe(plan.fileBytes)
    reopened(target, ({ weights, format, tokenizer }) => {
      expect(format).toBe('gptq')
      for (const [part, values] of decided) expect(differences(numbers(weights.load(part)), values)).toBe(0)
      for (const { name: part, role, type, bytes } of plan.tensors) {
        expect(weights.infos.get(part)!.bytes).toBe(bytes)
        if (role !== 'matrix')
          expect(differences(numbers(weights.load(part)), rounded(wide.weights.load(part), type))).toBe(0)
      }
      expect([...tokenizer().encode('the cat')]).toEqual([...wide.tokenizer().encode('the cat')])
    })
    const config = JSON.parse(readFileSync(join(target, 'config.json'), 'utf8'))
    expect(config.quantization_config).toMatchObject({
      quant_method: 'gptq',
      bits: options.grid.bits,
      group_size: options.grid.groupSize === 'row' ? -1 : options.grid.groupSize,
      desc_act: actOrder && !staticGroups,
      sym: options.grid.symmetric,
      static_groups: actOrder && staticGroups,
      checkpoint_format: options.checkpointFormat ?? 'gptq',
    })
    expect(JSON.parse(readFileSync(join(target, 'quantize_config.json'), 'utf8'))).toEqual(
      config.quantization_config,
    )
  },
)

test('8 bits compute nearly what the source does', () => {
  const target = join(folder, 'near')
  writeAll(wide, planGptq(folderSource(wide), { grid: grid({ bits: 8 }), actOrder: false }), {}, target)
  const tokens = Uint32Array.from({ length: 12 }, (_, i) => (i * 7) % 32)
  const source = scope(() => numbers(wide.model.load().forward(tokens)))
  reopened(target, ({ model }) => {
    expect(distance(numbers(model.load().forward(tokens)), source)).toBeLessThan(0.02)
  })
})

test('a GPTQ folder can be a source again: on a grid as fine as its own no weight moves by more than a step', () => {
  const options = { grid: grid({ bits: 8, groupSize: 'row' as const }), actOrder: false }
  const [first, second] = [join(folder, 'first'), join(folder, 'second')]
  const decided = writeAll(wide, planGptq(folderSource(wide), options), { feedback: false }, first)
  reopened(first, (open) => {
    const plan = planGptq(folderSource(open), options)
    expect(plan.tensors.every(({ name }) => !/qweight|scales|g_idx/.test(name))).toBe(true)
    writeAll(open, plan, { feedback: false }, second)
  })
  reopened(second, ({ weights }) => {
    for (const [name, values] of decided)
      expect(distance(numbers(weights.load(name)), values)).toBeLessThan(1 / 255)
  })
})

test('a zero that version 1 cannot hold is never made', () => {
  const target = join(folder, 'positive')
  const plan = planGptq(folderSource(wide), { grid: grid({ bits: 4 }), actOrder: false })
  const positive: OpenLanguageModel = {
    ...wide,
    weights: { ...wide.weights, load: (name) => wide.weights.load(name).abs() },
  }
  const decided = writeAll(positive, plan, { feedback: false }, target)
  reopened(target, ({ weights }) => {
    for (const [name, values] of decided) expect(differences(numbers(weights.load(name)), values)).toBe(0)
  })
})

describe('what the format cannot hold', () => {
  test('groups that do not divide the rows are refused, with sizes that do', () => {
    const plan = () => planGptq(folderSource(wide), { grid: grid({ groupSize: 48 }), actOrder: false })
    expect(plan).toThrow(OptionError)
    expect(plan).toThrow(/--group-size 48: .* rows of 256; choose 16, 32, 64, 128, 256 or row/)
  })
  test('rows and columns that 32 does not divide are refused by name', () => {
    const open = openFixture('llama-tied')
    expect(() => planGptq(folderSource(open), { grid: grid({ groupSize: 32 }), actOrder: false })).toThrow(
      /^model\.layers\.0\.self_attn\.k_proj\.weight: .*\[16, 32\]; choose --target pare/,
    )
    open.close()
  })
  test('sorted groups are noted for readers, static ones need no note', () => {
    const notes = (options: object) =>
      planGptq(folderSource(wide), { grid: grid(), actOrder: true, ...options }).notes
    expect(notes({})).toEqual([expect.stringMatching(/g_idx/)])
    expect(notes({ staticGroups: true })).toEqual([])
  })
})

test('a layer whose group index lies is refused by name', () => {
  const target = join(folder, 'lying')
  writeAll(wide, planGptq(folderSource(wide), { grid: grid(), actOrder: false }), { feedback: false }, target)
  const path = join(target, 'model.safetensors')
  const bytes = readFileSync(path)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
  const [start] = header['model.layers.0.mlp.up_proj.g_idx'].data_offsets
  bytes.writeInt32LE(99, 8 + length + start)
  writeFileSync(path, bytes)
  reopened(target, ({ weights }) => {
    expect(() => weights.load('model.layers.0.mlp.up_proj.weight')).toThrow(
      /up_proj\.g_idx: names a group past the last of 4/,
    )
  })
})
