import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { fixturePath } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { planGguf } from '../models/write/gguf_target.ts'
import { planGptq } from '../models/write/gptq_target.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { planPare } from '../models/write/pare_target.ts'
import { writeWideModel } from '../models/write/sources.suite.ts'
import { folderSource, ggufSource } from '../models/write/target.ts'
import { affineGrid } from '../nn/grid.ts'
import { writeInBlocks } from './numbers_in_blocks.ts'

let folder: string
let wide: OpenLanguageModel
let file: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'numbers-in-blocks-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide')))
  file = openLanguageModel(fixturePath('llama-f16.gguf'))
})
afterAll(() => {
  wide.close()
  file.close()
  rmSync(folder, { recursive: true })
})

/** The bytes of a weight by tensor of the file, and in how many parts they came. */
function written(open: OpenLanguageModel, target: TargetPlan, name: string, most: number) {
  const parts = new Map<string, Uint8Array[]>()
  const append = (tensor: string, bytes: Uint8Array) =>
    void parts.set(tensor, [...(parts.get(tensor) ?? []), bytes])
  const plan = target.tensors.find((each) => each.name === name)!
  writeInBlocks(target, plan, open.weights, { append }, most)
  return {
    bytes: [...parts].map(([tensor, own]) => [tensor, Buffer.concat(own).toString('hex')]),
    count: Math.max(...[...parts.values()].map(({ length }) => length)),
  }
}

const embedding = 'model.embed_tokens.weight'
const grid = affineGrid({ bits: 3, groupSize: 32 })
const by = 'a test'
const targets: [string, () => [OpenLanguageModel, TargetPlan]][] = [
  ['GGUF, Q6_K', () => [wide, planGguf(ggufSource(wide), { embedding: 'Q6_K', fileName: 'm' })]],
  ['GGUF, F16', () => [wide, planGguf(ggufSource(wide), { embedding: 'F16', fileName: 'm' })]],
  [
    'GGUF, kept',
    () => [file, planGguf(ggufSource(file), { embedding: 'keep', scheme: 'Q8_0', fileName: 'm' })],
  ],
  ['GPTQ', () => [wide, planGptq(folderSource(wide), { grid, actOrder: false })]],
  ['Pare, BF16', () => [wide, planPare(folderSource(wide), { grid, groupsSorted: false })]],
  [
    'Pare, Q4_K',
    () => [wide, planPare(folderSource(wide), { grid, groupsSorted: false, embedding: 'Q4_K' })],
  ],
  [
    'Pare, codes with the group of each column',
    () => [
      wide,
      planPare(folderSource(wide), {
        grid,
        groupsSorted: true,
        choices: new Map([[embedding, { grid, by }]]),
      }),
    ],
  ],
]
test.each(targets)('%s: blocks of rows give the bytes of the whole', (_, make) => {
  const [open, target] = make()
  const columns = open.weights.infos.get(embedding)!.shape[1]!
  const whole = written(open, target, embedding, 2 ** 24)
  expect(whole.count).toBe(1)
  // Five rows a block: the last one is shorter.
  const blocks = written(open, target, embedding, 4 * columns * 5)
  expect(blocks.count).toBe(Math.ceil(open.weights.infos.get(embedding)!.shape[0]! / 5))
  expect(blocks.bytes).toEqual(whole.bytes)
})
test('a vector is one block', () => {
  const target = planPare(folderSource(wide), { grid, groupsSorted: false })
  expect(written(wide, target, 'model.norm.weight', 1).count).toBe(1)
})
