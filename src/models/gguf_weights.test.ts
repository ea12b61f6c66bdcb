/** Weights of GGUF files as they are stored: rows of blocks in the order of Hugging Face. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { decodeStored } from '../nn/values/values.ts'
import { scope } from '../tensor/index.ts'
import { numbers } from './llama/fixtures.suite.ts'
import { openLanguageModel } from './load_model.ts'
import { planGguf } from './write/gguf_target.ts'
import { reopened, writeAll, writeWideModel } from './write/sources.suite.ts'
import { ggufSource } from './write/target.ts'

let folder: string
let path: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gguf-weights-test-'))
  const wide = openLanguageModel(writeWideModel(join(folder, 'wide')))
  const target = join(folder, 'gguf')
  mkdirSync(target)
  writeAll(wide, planGguf(ggufSource(wide), { scheme: 'Q4_K', fileName: 'wide' }), {}, target)
  wide.close()
  path = join(target, readdirSync(target)[0]!)
})
afterAll(() => rmSync(folder, { recursive: true }))

test('stored blocks decode to the weights, all rows and any of them, q and k in the order of their heads too', () => {
  reopened(path, ({ weights }) => {
    for (const part of ['self_attn.q_proj', 'self_attn.k_proj', 'mlp.up_proj']) {
      const name = `model.layers.0.${part}.weight`
      const all = numbers(weights.load(name))
      const [rows = 0, columns = 0] = weights.infos.get(name)!.shape
      const stored = weights.stored!(name)!
      expect(stored).toMatchObject({ kind: 'blocks', type: 'Q4_K', shape: [rows, columns] })
      expect(scope(() => numbers(decodeStored(stored)))).toEqual(all)
      for (const [start, end] of [
        [0, 1],
        [63, 65],
        [70, 128],
      ] as const) {
        const part = scope(() => numbers(decodeStored(weights.stored!(name, start, end)!)))
        expect(part).toEqual(all.slice(start * columns, end * columns))
      }
    }
  })
})
test('numbers are no codes', () => {
  reopened(path, ({ weights }) => {
    expect(weights.stored!('model.norm.weight')).toBeUndefined()
    expect(weights.stored!('model.embed_tokens.weight')).toMatchObject({ type: 'Q6_K' })
    expect(() => weights.stored!('model.nothing')).toThrow(/no such weight/)
  })
})
