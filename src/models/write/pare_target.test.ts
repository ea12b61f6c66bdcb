import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { columnSweep } from '../../nn/column_sweep.ts'
import { affineGrid, decodeValues } from '../../nn/grid.ts'
import { FormatError } from '../../tensor/errors.ts'
import { fixturePath, numbers, openFixture } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { type PareTargetOptions, planPare } from './pare_target.ts'
import { differences, reopened, rounded, sizeOf, writeAll, writeWideModel } from './sources.suite.ts'
import { folderSource } from './target.ts'

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-target-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide'), { type: 'F16', tied: true }))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})

const settings: [string, PareTargetOptions][] = [
  ...([2, 3, 4, 8] as const).map((bits): [string, PareTargetOptions] => [
    `${bits} bits`,
    { grid: affineGrid({ bits }), groupsSorted: false },
  ]),
  ['one group a row', { grid: affineGrid({ bits: 3, groupSize: 'row' }), groupsSorted: false }],
  [
    'groups that do not divide the rows',
    { grid: affineGrid({ bits: 3, groupSize: 50 }), groupsSorted: false },
  ],
  ['symmetric', { grid: affineGrid({ bits: 2, symmetric: true }), groupsSorted: false }],
  ['scales in f32', { grid: affineGrid({ scaleType: 'f32' }), groupsSorted: false }],
  ['searched ranges', { grid: affineGrid({ bits: 2, search: true }), groupsSorted: false }],
  ['act-order', { grid: affineGrid({ bits: 3, groupSize: 40 }), groupsSorted: true }],
]

test.each(settings)(
  '%s: the folder holds what the sweep decided, bit for bit, and has the planned size',
  (name, options) => {
    const target = join(folder, name)
    const plan = planPare(folderSource(wide), options)
    const decided = writeAll(wide, plan, { sorted: options.groupsSorted }, target)
    expect(sizeOf(join(target, 'model.safetensors'))).toBe(plan.fileBytes)
    reopened(target, ({ weights, format, model }) => {
      expect(format).toBe('pare')
      expect(model.config).toEqual(wide.model.config)
      for (const [part, values] of decided) expect(differences(numbers(weights.load(part)), values)).toBe(0)
      for (const { name: part, role, type, bytes } of plan.tensors) {
        expect(weights.infos.get(part)!.bytes).toBe(bytes)
        if (role !== 'matrix')
          expect(differences(numbers(weights.load(part)), rounded(wide.weights.load(part), type))).toBe(0)
      }
    })
  },
)

test('rows of a compressed weight are those of the whole', () => {
  const name = 'model.layers.0.mlp.down_proj.weight'
  for (const [setting] of settings) {
    reopened(join(folder, setting), ({ weights }) => {
      const all = numbers(weights.load(name))
      expect(numbers(weights.rows(name, Uint32Array.of(3, 0, 255)))).toEqual(
        [3, 0, 255].flatMap((row) => all.slice(row * 256, row * 256 + 256)),
      )
      expect(() => weights.rows(name, Uint32Array.of(256))).toThrow(RangeError)
      expect(numbers(weights.slice(name, 3, 9))).toEqual(all.slice(3 * 256, 9 * 256))
    })
  }
})

test.each(['F32', 'F16', 'BF16', 'Q8_0', 'Q3_K', 'IQ4_NL'] as const)(
  'the embedding is stored as %s where that is asked for',
  (embedding) => {
    const target = join(folder, `embedding-${embedding}`)
    const plan = planPare(folderSource(wide), { grid: affineGrid(), groupsSorted: false, embedding })
    writeAll(wide, plan, {}, target)
    expect(sizeOf(join(target, 'model.safetensors'))).toBe(plan.fileBytes)
    const name = 'model.embed_tokens.weight'
    const dense = wide.weights.load(name)
    const coded = /Q/.test(embedding)
    const expected = coded
      ? numbers(decodeValues(columnSweep(dense, { grid: { kind: 'blocks', type: embedding } }).values))
      : rounded(dense, embedding)
    reopened(target, ({ weights, model }) => {
      expect(differences(numbers(weights.load(name)), expected)).toBe(0)
      expect(numbers(model.embed(Uint32Array.of(2, 31)))).toEqual([
        ...expected.slice(512, 768),
        ...expected.slice(31 * 256),
      ])
    })
  },
)
test('an embedding whose rows 256 does not divide takes the stand-in, and the plan says why', () => {
  const open = openFixture('llama-tied')
  const plan = planPare(folderSource(open), { grid: affineGrid(), groupsSorted: false, embedding: 'Q6_K' })
  const embedding = plan.tensors.find(({ role }) => role === 'embedding')!
  expect([embedding.type, embedding.note]).toEqual(['Q8_0', 'Q6_K does not divide rows of 32'])
  open.close()
})

test.each(['llama-tied', 'smollm', 'qwen2', 'mistral', 'llama-rope-llama3', 'llama-gptq-4'] as const)(
  '%s: a folder of any size and type goes in and comes out',
  (name) => {
    const target = join(folder, name)
    const open = openLanguageModel(fixturePath(name))
    const plan = planPare(folderSource(open), {
      grid: affineGrid({ bits: 4, groupSize: 10 }),
      groupsSorted: false,
    })
    const decided = writeAll(open, plan, {}, target)
    expect(sizeOf(join(target, 'model.safetensors'))).toBe(plan.fileBytes)
    reopened(target, ({ weights, model }) => {
      expect(model.config).toEqual(open.model.config)
      for (const [part, values] of decided) expect(differences(numbers(weights.load(part)), values)).toBe(0)
    })
    open.close()
  },
)

describe('a description that lies', () => {
  const changed = (change: (weight: Record<string, unknown>) => void) => {
    const target = join(folder, '4 bits')
    const path = join(target, 'pare.json')
    const before = readFileSync(path, 'utf8')
    const described = JSON.parse(before)
    change(described.weights['model.layers.0.mlp.up_proj.weight'])
    writeFileSync(path, JSON.stringify(described))
    try {
      return reopened(
        target,
        ({ weights }) => numbers(weights.load('model.layers.0.mlp.up_proj.weight')).length,
      )
    } finally {
      writeFileSync(path, before)
    }
  }
  test('is refused when fields are missing, sizes differ, or bits are others', () => {
    expect(changed(() => {})).toBe(256 * 256)
    for (const wrong of [
      { bits: 3 },
      { bits: 5 },
      { groupSize: 32 },
      { groupSize: 0 },
      { symmetric: 'no' },
      { scaleType: 'f32' },
      { shape: [512, 512] },
      { shape: [2 ** 40, 2 ** 40] },
      { kind: 'else' },
      { kind: 'blocks', type: 'Q9_9' },
      { kind: 'blocks', type: 'Q4_K' },
    ]) {
      expect(() => changed((weight) => Object.assign(weight, wrong)), JSON.stringify(wrong)).toThrow(
        FormatError,
      )
    }
  })
})
