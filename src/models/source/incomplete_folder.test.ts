import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openSafetensors } from '../../formats/safetensors/safetensors.ts'
import { resolveSource } from './source.ts'

const root = mkdtempSync(join(tmpdir(), 'pare-incomplete-'))
afterAll(() => rmSync(root, { recursive: true }))

function folderWith(name: string, files: readonly string[]): string {
  const folder = join(root, name)
  mkdirSync(folder)
  for (const file of files) writeFileSync(join(folder, file), file === 'config.json' ? '{}' : 'x')
  return folder
}

test.each([
  ['a', ['model.safetensors'], /has no config\.json beside model\.safetensors; get it/],
  ['b', ['any.onnx'], /has no config\.json beside any\.onnx; get it/],
  ['c', ['config.json'], /has config\.json and no weights; model\.safetensors is missing/],
  ['d', ['config.json', 'weights.pth'], /no \*\.safetensors, and weights\.pth is not read beside it; save/],
  [
    'e',
    ['notes.txt'],
    /a \.gguf file or a folder with config\.json and \*\.safetensors is needed, none is inside/,
  ],
  [
    'f',
    ['1.pth', '2.pth', '3.pth', '4.pth'],
    /has no config\.json beside 1\.pth, 2\.pth, 3\.pth and 1 more;/,
  ],
] as const)('%s: a folder with %j says what it lacks, with exit code 1', async (name, files, message) => {
  await expect(resolveSource(folderWith(name, files))).rejects.toMatchObject({
    message: expect.stringMatching(message),
    code: 'PARE_E_SOURCE_NO_MODEL',
    exitCode: 1,
  })
})
test('the folder of a run that was stopped is called that', async () => {
  const folder = folderWith('stopped', [])
  mkdirSync(join(folder, '.pare'))
  await expect(resolveSource(folder)).rejects.toMatchObject({
    message: expect.stringContaining('holds a run that was not finished'),
    code: 'PARE_E_UNFINISHED',
    exitCode: 3,
  })
})
test('a part of a model without its index is called that, and a missing part is named with the index', () => {
  const part = folderWith('part', ['config.json', 'model-00001-of-00003.safetensors'])
  expect(() => openSafetensors(part)).toThrow(
    /holds part 1 of 3 of a model and no model\.safetensors\.index\.json; fetch the other files/,
  )
  const index = join(folderWith('indexed', []), 'model.safetensors.index.json')
  writeFileSync(index, JSON.stringify({ weight_map: { a: 'model-00001-of-00002.safetensors' } }))
  expect(() => openSafetensors(join(root, 'indexed'))).toThrow(
    /model-00001-of-00002\.safetensors: is not there, and model\.safetensors\.index\.json names it; fetch it again/,
  )
})
