import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openGguf } from '../../formats/gguf/container.ts'
import {
  type BlockTypeName,
  bitsPerWeight,
  codedTypeNames,
  isBlockType,
  isCodedType,
} from '../../nn/block_types.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import { decodeValues } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import { scope } from '../../tensor/index.ts'
import { distance, expectedOf, fixturePath, numbers, openFixture } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { planGguf } from './gguf_target.ts'
import { differences, reopened, rounded, sizeOf, writeAll, writeWideModel } from './sources.suite.ts'
import { ggufSource } from './target.ts'

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gguf-target-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide')))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})
const path = (name: string) => join(folder, name, 'm.gguf')

describe.each(codedTypeNames)('%s', (scheme) => {
  test('the file holds what the sweep decided, bit for bit, and has the planned size', () => {
    const plan = planGguf(ggufSource(wide), { scheme, fileName: 'm' })
    const decided = writeAll(wide, plan, {}, join(folder, scheme))
    expect(sizeOf(path(scheme))).toBe(plan.fileBytes)
    expect(decided.size).toBe(7)
    reopened(path(scheme), ({ weights }) => {
      for (const [name, values] of decided) {
        expect(weights.infos.get(name)!.type).toBe(scheme)
        expect(differences(numbers(weights.load(name)), values)).toBe(0)
      }
    })
  })
  test('the planned bits of a matrix are those of its blocks', () => {
    for (const { role, bytes, shape } of planGguf(ggufSource(wide), { scheme, fileName: 'm' }).tensors) {
      if (role === 'matrix') expect((8 * bytes) / (shape[0]! * shape[1]!)).toBe(bitsPerWeight(scheme))
    }
  })
})

test('a model in Q8_0 computes nearly what its source does, with the row order of llama files', () => {
  const plan = planGguf(ggufSource(wide), { scheme: 'Q8_0', embedding: 'F32', fileName: 'm' })
  writeAll(wide, plan, {}, join(folder, 'near'))
  const tokens = Uint32Array.from({ length: 12 }, (_, i) => (i * 7) % 32)
  const source = scope(() => numbers(wide.model.load().forward(tokens)))
  reopened(path('near'), ({ model }) => {
    expect(distance(numbers(model.load().forward(tokens)), source)).toBeLessThan(0.02)
  })
})

describe('embedding and head', () => {
  test.each(['F32', 'F16', 'BF16', 'Q8_0', 'Q4_K'] as const)(
    'are stored as %s where that is asked for',
    (embedding) => {
      const plan = planGguf(ggufSource(wide), { scheme: 'Q4_0', embedding, fileName: 'm' })
      const name = `embedding-${embedding}`
      writeAll(wide, plan, {}, join(folder, name))
      expect(sizeOf(path(name))).toBe(plan.fileBytes)
      reopened(path(name), ({ weights }) => {
        for (const part of ['model.embed_tokens.weight', 'lm_head.weight']) {
          expect(weights.infos.get(part)!.type).toBe(embedding)
          const dense = wide.weights.load(part)
          const expected = isCodedType(embedding)
            ? numbers(decodeValues(columnSweep(dense, { grid: { kind: 'blocks', type: embedding } }).values))
            : rounded(dense, embedding)
          expect(differences(numbers(weights.load(part)), expected)).toBe(0)
        }
      })
    },
  )
  test('are Q6_K from another format, and as they were from a GGUF file', () => {
    const types = (plan: ReturnType<typeof planGguf>) =>
      plan.tensors.filter((t) => t.role === 'embedding' || t.role === 'head').map((t) => t.type)
    expect(types(planGguf(ggufSource(wide), { fileName: 'm' }))).toEqual(['Q6_K', 'Q6_K'])
    const gguf = openFixture('llama-f16.gguf')
    const plan = planGguf(ggufSource(gguf), { scheme: 'Q8_0', fileName: 'm' })
    expect(types(plan)).toEqual(['F16'])
    writeAll(gguf, plan, {}, join(folder, 'kept'))
    const [before, after] = [openGguf(fixturePath('llama-f16.gguf')), openGguf(path('kept'))]
    expect(after.read('token_embd.weight')).toEqual(before.read('token_embd.weight'))
    for (const file of [before, after]) file.close()
    gguf.close()
  })
  test('cannot be kept from another format', () => {
    expect(() => planGguf(ggufSource(wide), { embedding: 'keep', fileName: 'm' })).toThrow(
      /--embedding keep: .*BF16 in the source/,
    )
  })
})

describe('rows that 256 does not divide', () => {
  const standIns: [BlockTypeName, BlockTypeName][] = [
    ['Q2_K', 'IQ4_NL'],
    ['Q3_K', 'IQ4_NL'],
    ['Q4_K', 'Q5_0'],
    ['Q5_K', 'Q5_1'],
    ['Q6_K', 'Q8_0'],
  ]
  test.each(standIns)('take for %s what llama.cpp takes, %s, and the plan says why', (scheme, type) => {
    const open = openFixture('llama-f16.gguf')
    const plan = planGguf(ggufSource(open), { scheme, fileName: 'm' })
    for (const tensor of plan.tensors.filter(({ role }) => role === 'matrix')) {
      expect([tensor.type, tensor.note]).toEqual([type, `${scheme} does not divide rows of 32`])
    }
    writeAll(open, plan, {}, join(folder, `fallback-${scheme}`))
    expect(sizeOf(path(`fallback-${scheme}`))).toBe(plan.fileBytes)
    open.close()
  })
  test('are refused by name without the fall-back', () => {
    const open = openFixture('llama-f16.gguf')
    const plan = () => planGguf(ggufSource(open), { scheme: 'Q4_K', fallback: false, fileName: 'm' })
    expect(plan).toThrow(
      expect.objectContaining({ code: 'PARE_E_FALLBACK', facts: expect.objectContaining({ columns: 32 }) }),
    )
    expect(plan).toThrow(/^model\.layers\.0\.[\w.]+\.weight: Q4_K .*IQ4_NL/)
    expect(
      planGguf(ggufSource(open), { scheme: 'IQ4_NL', fallback: false, fileName: 'm' }).tensors.some(
        (t) => t.note,
      ),
    ).toBe(false)
    open.close()
  })
  test('of an embedding whose type nobody asked for may always fall back', () => {
    const open = openLanguageModel(fixturePath('llama-tied'))
    const source = { ...ggufSource(wide), infos: open.weights.infos, matrices: new Set<string>() }
    const embedding = (options: object) =>
      planGguf(source, { fallback: false, fileName: 'm', ...options }).tensors.find(
        (t) => t.role === 'embedding',
      )
    const only = { ...source.infos.get('model.embed_tokens.weight')! }
    source.infos = new Map([[only.name, only]])
    expect(embedding({})!.type).toBe('Q8_0')
    expect(() => embedding({ embedding: 'Q6_K' })).toThrow(OptionError)
    open.close()
  })
})

describe('from a GGUF file', () => {
  test.each([
    'llama-f16.gguf',
    'llama-rope-freqs-f16.gguf',
    'llama-rope-linear-f16.gguf',
    'qwen2-f16.gguf',
  ] as const)('%s: metadata, divisors, biases and norms go along, and the logits stay near', (name) => {
    const open = openFixture(name)
    const plan = planGguf(ggufSource(open), { scheme: 'Q8_0', fileName: 'm' })
    writeAll(open, plan, {}, join(folder, name))
    expect(sizeOf(path(name))).toBe(plan.fileBytes)
    const { tokens, logits } = expectedOf(name)
    reopened(path(name), (again) => {
      expect(again.model.config).toEqual(open.model.config)
      expect(distance(numbers(again.model.load().forward(tokens)), logits)).toBeLessThan(0.05)
      expect([...again.tokenizer().encode('the cat')]).toEqual([...open.tokenizer().encode('the cat')])
      for (const [part, { type }] of open.weights.infos) {
        if (isBlockType(type) && !plan.tensors.find((t) => t.name === part)!.grid) {
          expect(differences(numbers(again.weights.load(part)), numbers(open.weights.load(part)))).toBe(0)
        }
      }
    })
    open.close()
  })
})

test('a sliding window that GGUF cannot hold is said to be lost', () => {
  const config = { ...wide.model.config, architecture: 'mistral', slidingWindow: 8 }
  const { losses } = ggufSource({ ...wide, model: Object.assign(Object.create(wide.model), { config }) })
  expect(losses).toContainEqual(expect.stringMatching(/sliding window of 8 tokens is left out/))
})
test('a writer that is aborted leaves nothing behind', () => {
  const target = join(folder, 'aborted')
  mkdirSync(target)
  const writer = planGguf(ggufSource(wide), { fileName: 'm' }).create(target)
  writer.abort()
  expect(readdirSync(target)).toEqual([])
  expect(existsSync(path('aborted'))).toBe(false)
})
