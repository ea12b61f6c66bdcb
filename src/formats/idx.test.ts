import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { FormatError, SourceError } from '../tensor/errors.ts'
import { readGzip, readIdx } from './idx.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-idx-'))
afterAll(() => rmSync(folder, { recursive: true }))
function place(name: string, bytes: Uint8Array): string {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}
/** Two images of 2 x 3. */
const idx = Uint8Array.of(
  0,
  0,
  8,
  3,
  0,
  0,
  0,
  2,
  0,
  0,
  0,
  2,
  0,
  0,
  0,
  3,
  1,
  2,
  3,
  4,
  5,
  6,
  7,
  8,
  9,
  10,
  11,
  255,
)

test('extents and bytes are read, also from a packed file', () => {
  for (const path of [place('images', idx), place('images.gz', gzipSync(idx))]) {
    const { shape, values } = readIdx(path, 3)
    expect([shape, [...values]]).toEqual([
      [2, 2, 3],
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255],
    ])
  }
})
test('a file cut anywhere, or with a byte too many, is refused by name', () => {
  for (let length = 0; length < idx.length; length++)
    expect(() => readIdx(place('cut', idx.subarray(0, length)), 3)).toThrow(FormatError)
  expect(() => readIdx(place('long', Uint8Array.of(...idx, 0)), 3)).toThrow(/long: 2 x 2 x 3 values need 12/)
})
test('other types, ranks and lying extents are refused', () => {
  const changed = (at: number, value: number) => place('changed', idx.with(at, value))
  expect(() => readIdx(changed(2, 13), 3)).toThrow(/type 13/)
  expect(() => readIdx(changed(3, 1), 3)).toThrow(/1 axes, 3 are needed/)
  expect(() => readIdx(changed(4, 255), 3)).toThrow(/need 25669140492 bytes, it has 12/)
  expect(() => readIdx(changed(0, 1), 3)).toThrow(/no IDX file/)
})
test('a packed file that is damaged or unpacks to too much is refused', () => {
  const packed = gzipSync(idx)
  expect(() => readIdx(place('half.gz', packed.subarray(0, 20)), 3)).toThrow(/half\.gz: does not unpack/)
  const bomb = place('bomb.gz', gzipSync(new Uint8Array(1 << 20)))
  expect(() => readGzip(bomb, 1 << 16)).toThrow(FormatError)
  expect(() => readGzip(join(folder, 'none.gz'), 1)).toThrow(SourceError)
})
