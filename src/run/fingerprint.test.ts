import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type CompressOptions, resolveOptions } from './compress_options.ts'
import { checkFingerprint, fingerprintOf, hashOfFiles, modelFiles } from './fingerprint.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fingerprint-test-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const hashes = { source: 's', calibration: 'c', evaluation: 'e' }
const of = (extra: Partial<CompressOptions> = {}) =>
  fingerprintOf(resolveOptions({ source: 'm.gguf', output: 'o', ...extra }), hashes)

test('the hash is that of all files one after another', () => {
  writeFileSync(join(folder, 'a'), 'ab')
  writeFileSync(join(folder, 'b'), 'c')
  // SHA-256 of "abc", FIPS 180-2 appendix B.1.
  expect(hashOfFiles([join(folder, 'a'), join(folder, 'b')])).toBe(
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  )
})
test('a model is its file, or the files of its folder, also those behind links', () => {
  for (const name of ['b', 'a']) writeFileSync(join(folder, name), '')
  mkdirSync(join(folder, 'inner'))
  symlinkSync(join(folder, 'a'), join(folder, 'link'))
  expect(modelFiles(folder).map((file) => basename(file))).toEqual(['a', 'b', 'link'])
  expect(modelFiles(join(folder, 'a'))).toEqual([join(folder, 'a')])
})
test('places, and a limit that changes no byte, do not count', () => {
  const places = { output: 'p', overwrite: true, restart: true, scratch: 's', offline: true, probe: false }
  expect(of({ ...places, source: 'other.gguf', limits: { maxKl: 1 } })).toEqual(of())
})
test('every option that changes the result does', () => {
  for (const change of [
    { bits: 3 },
    { seed: 1 },
    { samples: 3 },
    { windows: 3 },
    { evaluate: false },
    { embedding: 'Q8_0' },
    { shardSize: 1e9 },
    { target: 'gptq' },
    { target: 'vllm' },
  ] as const)
    expect(of(change), JSON.stringify(change)).not.toEqual(of())
  const onnx = { target: 'onnx', embedding: 'F16' } as const
  expect(of({ ...onnx, activations: 'F16' })).not.toEqual(of(onnx))
})
test('a format counts where it is not the first of its target, which has no name in runs that began before there was a choice', () => {
  const format = (options: Partial<CompressOptions>) => of({ target: 'gptq', ...options }).format
  expect([format({}), format({ format: 'gptq' }), format({ format: 'gptq_v2' })]).toEqual([
    undefined,
    undefined,
    'gptq_v2',
  ])
})
test('what differs is named with both values, also what is missing on one side', () => {
  expect(() => checkFingerprint({ a: 1, b: 'x' }, { a: 2, c: true }, 'out')).toThrow(
    '--output: out holds another run: a was 1 and is 2, b was x and is not there, c was not there and is true; give --restart',
  )
  expect(() => checkFingerprint({ a: 1, b: 2 }, { b: 2, a: 1 }, 'out')).not.toThrow()
})
