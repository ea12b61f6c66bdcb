import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openModel } from './load_model.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-config-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('what is wrong in a config.json is told with the path of the file', () => {
  const path = join(folder, 'config.json')
  writeFileSync(path, JSON.stringify({ model_type: 'llama', hidden_act: 'relu' }))
  expect(() => openModel(folder)).toThrow(`${path}: `)
  writeFileSync(path, JSON.stringify({ model_type: 'bert', hidden_size: -1 }))
  expect(() => openModel(folder)).toThrow(`${path}: `)
})
