import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openGguf } from '../formats/gguf/container.ts'
import { FormatError } from '../tensor/errors.ts'
import { scope, tensor } from '../tensor/index.ts'
import { finiteWeights } from './finite_weights.ts'
import { fixturePath, numbers } from './llama/fixtures.suite.ts'
import { openLanguageModel } from './load_model.ts'
import type { ModelWeights } from './model_weights.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'finite-weights-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const holding = (values: number[]): ModelWeights => ({
  infos: new Map(),
  fileBytes: 0,
  load: () => tensor(values),
  rows: () => tensor(values, [1, values.length]),
  slice: () => tensor(values, [1, values.length]),
  close: () => {},
})

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
  'a weight with %d is refused by name, whole or in rows',
  (value) => {
    for (const values of [[value], [1, 2, value, 4], [value, -value]]) {
      const weights = finiteWeights(holding(values))
      expect(() => weights.load('norm')).toThrow(
        expect.objectContaining({ code: 'PARE_E_NOT_FINITE', facts: { tensor: 'norm' } }),
      )
      expect(() => weights.rows('norm', Uint32Array.of(0))).toThrow(FormatError)
      expect(() => weights.slice('norm', 0, 1)).toThrow(FormatError)
    }
  },
)
test('finite weights pass, also where their sum is beyond f32', () => {
  for (const values of [
    [0, -0],
    [3e38, 3e38, 3e38],
    [-3e38, -3e38],
  ]) {
    expect(numbers(finiteWeights(holding(values)).load('norm'))).toEqual([...Float32Array.from(values)])
  }
})
test('a folder with a damaged norm is opened, and the forward names the norm', () => {
  const copy = join(folder, 'copy')
  cpSync(fixturePath('llama-tied'), copy, { recursive: true })
  const path = join(copy, 'model.safetensors')
  const bytes = readFileSync(path)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
  bytes.writeUInt16LE(0x7fc0, 8 + length + header['model.layers.1.input_layernorm.weight'].data_offsets[0])
  writeFileSync(path, bytes)
  const open = openLanguageModel(copy)
  expect(() => scope(() => open.model.load())).toThrow(
    /^model\.layers\.1\.input_layernorm\.weight: .*not finite/,
  )
  open.close()
})
test('a GGUF file with a damaged embedding is refused where its row is read', () => {
  const archive = openGguf(fixturePath('llama-f16.gguf'))
  const row = archive.readRows('token_embd.weight', 5, 6)
  archive.close()
  const bytes = readFileSync(fixturePath('llama-f16.gguf'))
  bytes.writeUInt16LE(0x7c00, bytes.indexOf(row))
  const path = join(folder, 'damaged.gguf')
  writeFileSync(path, bytes)
  const open = openLanguageModel(path)
  expect(open.model.embed(Uint32Array.of(4, 6)).shape).toEqual([2, 32])
  expect(() => open.model.embed(Uint32Array.of(4, 5))).toThrow(/^model\.embed_tokens\.weight: .*not finite/)
  open.close()
})
