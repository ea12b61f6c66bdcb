import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { FormatError } from '../tensor/errors.ts'
import { generationDefaults } from './generation_defaults.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-defaults-'))
afterAll(() => rmSync(folder, { recursive: true }))
const read = (config: object) => {
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(config))
  return generationDefaults(folder)
}

test('values of the file are the defaults, and what it does not say is left out', () => {
  expect(generationDefaults(join(folder, 'nowhere'))).toEqual({})
  expect(read({ bos_token_id: 0, eos_token_id: [1, 2], temperature: null })).toEqual({})
  expect(
    read({ do_sample: true, temperature: 0.6, top_p: 0.95, top_k: 20, min_p: 0, repetition_penalty: 1.05 }),
  ).toEqual({ temperature: 0.6, topP: 0.95, topK: 20, minP: 0, repetitionPenalty: 1.05 })
})
test('a model that is not to be sampled takes the most likely token', () => {
  expect(read({ do_sample: false, temperature: 0.6 })).toEqual({ temperature: 0 })
})
test.each([
  { temperature: -1 },
  { temperature: '1' },
  { top_p: 0 },
  { top_k: 1.5 },
  { min_p: 2 },
  { repetition_penalty: 0 },
])('%j is refused with the file and the field', (config) => {
  expect(() => read(config)).toThrow(FormatError)
  expect(() => read(config)).toThrow(
    new RegExp(`generation_config\\.json: ${Object.keys(config)[0]} cannot be`),
  )
})
