import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TensorArchive } from '../formats/archive.ts'
import { openSafetensors } from '../formats/safetensors/safetensors.ts'
import { createSafetensors } from '../formats/safetensors/writer.ts'
import { FormatError, ShapeError } from '../tensor/errors.ts'
import { gatherRows, loadFloatRows, loadFloatSlice, loadFloats } from './decode_rows.ts'
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
  F8_E4M3: new Uint8Array([0x3c, 0xc0, 0x28, 0, 0x44, 0xb0]),
  F8_E5M2: new Uint8Array([0x3e, 0xc0, 0x34, 0, 0x42, 0xb8]),
  F8_E4M3FNUZ: new Uint8Array([0x44, 0xc8, 0x30, 0, 0x4c, 0xb8]),
  F8_E5M2FNUZ: new Uint8Array([0x42, 0xc4, 0x38, 0, 0x46, 0xbc]),
  I32: new Int32Array(6),
}
const types = Object.keys(stored).filter((type) => type !== 'I32')

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
test.each([2 ** 30, 2 ** 52])('%d rows of nothing end at once', (rows) => {
  const entry = { name: 'w', type: 'F16', shape: [rows, 0], bytes: 0, offset: 0, file: 'w.safetensors' }
  const empty = { ...archive, readRows: () => new Uint8Array(0), read: () => new Uint8Array(0) }
  const load = () => loadFloats(empty, entry)
  if (rows < 2 ** 32) expect(load().shape).toEqual([rows, 0])
  else expect(load).toThrow(ShapeError)
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

test('rows that begin within a byte are those of the whole weight', () => {
  const path = join(folder, 'small.safetensors')
  const shapes = { F4: [6, 3], F6_E2M3: [8, 3], F6_E3M2: [4, 6], F8_E8M0: [3, 5] }
  const sizes = { F4: 9, F6_E2M3: 18, F6_E3M2: 18, F8_E8M0: 15 }
  const writer = createSafetensors(
    path,
    Object.entries(shapes).map(([type, shape]) => ({ name: type, type, shape })),
  )
  for (const [name, bytes] of Object.entries(sizes))
    writer.append(
      name,
      Uint8Array.from({ length: bytes }, (_, i) => (37 * i + 11) & 127),
    )
  writer.finish()
  const small = openSafetensors(path)
  for (const [type, [rows, columns]] of Object.entries(shapes) as [string, [number, number]][]) {
    const info = small.tensors.get(type)!
    const whole = numbers(loadFloats(small, info))
    expect(new Set(whole).size).toBeGreaterThan(4)
    for (let start = 0; start <= rows; start++)
      for (let end = start; end <= rows; end++)
        expect(numbers(loadFloatSlice(small, info, start, end))).toEqual(
          whole.slice(start * columns, end * columns),
        )
    const ids = Uint32Array.from({ length: rows }, (_, i) => rows - 1 - i)
    const reversed = [...ids].flatMap((id) => whole.slice(id * columns, (id + 1) * columns))
    expect(numbers(loadFloatRows(small, info, ids))).toEqual(reversed)
    expect(() => loadFloatRows(small, info, Uint32Array.of(rows))).toThrow(RangeError)
  }
  // The archive itself hands out whole bytes only.
  expect(() => small.readRows('F4', 1, 2)).toThrow(/row 1 of F4 with shape \[6,3\] begins within a byte/)
  expect(small.readRows('F4', 2, 4)).toHaveLength(3)
  small.close()
})
