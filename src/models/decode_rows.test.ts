import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TensorArchive } from '../formats/archive.ts'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { FormatError } from '../tensor/errors.ts'
import { gatherRows, loadFloatRows, loadFloats } from './decode_rows.ts'
import { numbers } from './llama/fixtures.suite.ts'
import type { WeightInfo } from './model_weights.ts'

/** The values 1.5, -2 / 0.25, 0 / 3, -0.5 in every float type, by their bits. */
const stored = {
  F64: new BigUint64Array([
    0x3ff8000000000000n,
    0xc000000000000000n,
    0x3fd0000000000000n,
    0n,
    0x4008000000000000n,
    0xbfe0000000000000n,
  ]),
  F32: new Uint32Array([0x3fc00000, 0xc0000000, 0x3e800000, 0, 0x40400000, 0xbf000000]),
  F16: new Uint16Array([0x3e00, 0xc000, 0x3400, 0, 0x4200, 0xb800]),
  BF16: new Uint16Array([0x3fc0, 0xc000, 0x3e80, 0, 0x4040, 0xbf00]),
  I32: new Int32Array(6),
}
const types = ['F64', 'F32', 'F16', 'BF16'] as const

let folder: string
let archive: TensorArchive
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'decode-rows-test-'))
  const path = join(folder, 'a.safetensors')
  const infos = Object.keys(stored).map((type) => ({ name: type, type, shape: [3, 2] }))
  const writer = createSafetensors(path, infos)
  for (const [name, { buffer }] of Object.entries(stored)) writer.append(name, new Uint8Array(buffer))
  writer.finish()
  archive = openSafetensors(path)
})
afterAll(() => {
  archive.close()
  rmSync(folder, { recursive: true })
})
const infoOf = (name: string): WeightInfo => archive.tensors.get(name)!

test.each(types)('%s: a whole weight has the values of its bits', (type) => {
  const whole = loadFloats(archive, infoOf(type))
  expect([whole.dtype, whole.shape]).toEqual(['f32', [3, 2]])
  expect(numbers(whole)).toEqual([1.5, -2, 0.25, 0, 3, -0.5])
})
test.each(types)('%s: rows come in the order that was asked for, as often as they were', (type) => {
  const rows = loadFloatRows(archive, infoOf(type), Uint32Array.of(2, 0, 2))
  expect([rows.dtype, rows.shape]).toEqual(['f32', [3, 2]])
  expect(numbers(rows)).toEqual([3, -0.5, 1.5, -2, 3, -0.5])
})
test('rows are read under the name of the archive and refused under that of the weight', () => {
  const renamed = { ...infoOf('F16'), name: 'embedding' }
  expect([...gatherRows(archive, renamed, Uint32Array.of(1), 'F16')]).toEqual([0, 0x34, 0, 0])
  expect(() => gatherRows(archive, renamed, Uint32Array.of(1, 3), 'F16')).toThrow(
    new RangeError('embedding: row 3 is past the last of 3'),
  )
})
test('whole numbers are no weight', () => {
  for (const load of [
    () => loadFloats(archive, infoOf('I32')),
    () => loadFloatRows(archive, infoOf('I32'), Uint32Array.of(0)),
  ]) {
    expect(load).toThrow(FormatError)
    expect(load).toThrow(/^I32: needs a float type, got I32/)
  }
})
