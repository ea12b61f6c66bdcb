import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { expandFolders, isFileName } from './folder_files.ts'

test('folders are exchanged for the files in them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'folder-files-test-'))
  mkdirSync(join(folder, 'onnx'))
  for (const name of ['config.json', 'onnx/model.onnx']) writeFileSync(join(folder, name), name)
  expect(expandFolders(folder, ['config.json', 'onnx'])).toEqual(['config.json', 'onnx/model.onnx'])
  rmSync(folder, { recursive: true })
})

test('a name leads neither out of its folder nor deeper than one folder', () => {
  for (const name of ['config.json', '..data', 'onnx/model.onnx', '.a/.b'])
    expect(isFileName(name), name).toBe(true)
  for (const name of ['', '.', '..', '/a', 'a/', '../a', 'a/..', './a', 'a/b/c', 'a\\b', 'a\0'])
    expect(isFileName(name), name).toBe(false)
})
