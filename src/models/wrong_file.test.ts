import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { openModel } from './load_model.ts'

const root = mkdtempSync(join(tmpdir(), 'pare-wrong-file-'))
afterAll(() => rmSync(root, { recursive: true }))
const write = (name: string, content = 'something else') => {
  const path = join(root, name)
  writeFileSync(path, content)
  return path
}

test.each([
  ['model.safetensors', 'this is a safetensors file; give a folder that has its config.json too'],
  ['model.onnx', 'this is an ONNX file; give a folder that has its config.json too'],
  ['pytorch_model.bin', 'this is a file of weights; give a folder that has its config.json too'],
  ['report.json', 'this is a JSON file; name a model'],
  ['README.md', 'this is a text; name a model'],
  ['report.html', 'this is a page; name a model'],
  ['model', 'this is neither; name a model'],
])('%s in place of a model is told for what it is', (name, said) => {
  const path = write(name)
  expect(() => openModel(path)).toThrow(OptionError)
  expect(() => openModel(path)).toThrow(`a GGUF file or a folder with config.json is needed, ${said}`)
})
test('an empty file is called empty, and one that is named GGUF and is none keeps what its reader says', () => {
  expect(() => openModel(write('empty.gguf', ''))).toThrow('this is an empty file; get it again')
  expect(() => openModel(write('other.gguf'))).toThrow('does not begin with GGUF')
})
test('weights beside a config.json are opened as their folder, which the message names', () => {
  const folder = join(root, 'whole')
  mkdirSync(folder)
  writeFileSync(join(folder, 'config.json'), '{}')
  writeFileSync(join(folder, 'model.safetensors'), 'x')
  expect(() => openModel(join(folder, 'model.safetensors'))).toThrow(`; give its folder, ${folder}`)
})
