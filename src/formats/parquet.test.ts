import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import zlib from 'node:zlib'
import { parquetMetadata } from 'hyparquet'
import { afterAll, describe, expect, test } from 'vitest'
import { FormatError, OptionError, SourceError } from '../tensor/errors.ts'
import { parquetRows } from './parquet.ts'

/** Written by pyarrow: columns text and label (i64), row groups of four rows. */
const golden: Record<string, string> = JSON.parse(
  readFileSync(new URL('golden/parquet.json', import.meta.url), 'utf8'),
)
const folder = mkdtempSync(join(tmpdir(), 'pare-parquet-'))
afterAll(() => rmSync(folder, { recursive: true }))

function place(bytes: Uint8Array): string {
  const path = join(folder, 'rows.parquet')
  writeFileSync(path, bytes)
  return path
}
const bytesOf = (name: string) => Buffer.from(golden[name]!, 'base64')
async function rowsOf(path: string, columns = ['text', 'label']) {
  const rows: unknown[] = []
  for await (const { row, values } of parquetRows(path, columns)) rows.push([row, values.text, values.label])
  return rows
}

test.each(['none', 'snappy', 'gzip', 'brotli', ...('zstdDecompressSync' in zlib ? ['zstd'] : [])])(
  'rows packed with %s are those that pyarrow wrote',
  async (packing) => {
    expect(await rowsOf(place(bytesOf(packing)))).toEqual([
      [0, 'the sea', 0n],
      [1, 'a ship', 1n],
      [2, '', 0n],
      [3, 'the whale 🐋', 1n],
      [4, 'old', 0n],
      [5, 'new', 1n],
    ])
  },
)
/** The footer says that column `index` takes `bytes` unpacked. */
async function withSize(index: number, bytes: bigint): Promise<string> {
  const whole = bytesOf('none')
  const { row_groups } = parquetMetadata(Uint8Array.from(whole).buffer)
  const { total_uncompressed_size, total_compressed_size } = row_groups[0]!.columns[index]!.meta_data!
  // Fields 6 and 7 of the metadata of a column, i64 each: a head of 0x16, then zigzag as a varint.
  const field = (value: bigint) => [0x16, ...varint(value * 2n)]
  const packed = field(total_compressed_size)
  const old = Buffer.from([...field(total_uncompressed_size), ...packed])
  const footer = whole.length - 8 - whole.readUInt32LE(whole.length - 8)
  const at = whole.indexOf(old, footer)
  const changed = [
    ...whole.subarray(footer, at),
    ...field(bytes),
    ...packed,
    ...whole.subarray(at + old.length, -8),
  ]
  const length = Buffer.alloc(4)
  length.writeUInt32LE(changed.length)
  const path = place(
    Buffer.concat([whole.subarray(0, footer), Buffer.from(changed), length, whole.subarray(-4)]),
  )
  const read = parquetMetadata(Uint8Array.from(readFileSync(path)).buffer).row_groups[0]!.columns
  expect(read[index]!.meta_data!.total_uncompressed_size).toBe(bytes)
  return path
}
function varint(value: bigint): number[] {
  return value < 128n ? [Number(value)] : [Number(value & 127n) | 128, ...varint(value >> 7n)]
}

test('a column that is not asked for may be of any size', async () => {
  const path = await withSize(1, 2n ** 40n)
  expect((await rowsOf(path, ['text'])).map((row) => (row as unknown[])[1])).toContain('the sea')
})
test('columns larger than what is read are refused, with the way to write them', async () => {
  const path = await withSize(0, 2n ** 30n + 1n)
  const reading = rowsOf(path, ['text'])
  await expect(reading).rejects.toMatchObject({
    code: 'PARE_E_PARQUET',
    message: expect.stringMatching(
      /rows 0 to 3: at most 1073741824 bytes .* 1073741825 in text; write smaller row groups$/,
    ),
  })
})
test('only the columns that are asked for are read', async () => {
  expect((await rowsOf(place(bytesOf('snappy')), ['label']))[1]).toEqual([1, undefined, 1n])
})

describe('what cannot be read ends in a typed error with the file and the rows', () => {
  test('a packing that is not known', async () => {
    await expect(rowsOf(place(bytesOf('lz4')))).rejects.toThrow(/rows\.parquet: rows 0 to 5: .*LZ4/)
  })
  test('a column that is not there', async () => {
    await expect(rowsOf(place(bytesOf('none')), ['words'])).rejects.toThrow(
      /column words is needed, the file has text, label/,
    )
    await expect(rowsOf(place(bytesOf('none')), ['words'])).rejects.toThrow(OptionError)
  })
  test('no file', async () => {
    await expect(rowsOf(join(folder, 'none.parquet'))).rejects.toThrow(SourceError)
  })
  test('a file cut anywhere', async () => {
    const whole = bytesOf('none')
    for (let length = 0; length < whole.length; length += 7) {
      const path = place(whole.subarray(0, length))
      await expect(rowsOf(path), `${length} bytes`).rejects.toThrow(FormatError)
    }
  })
  test('a byte changed anywhere: rows, or a typed error', async () => {
    const whole = bytesOf('snappy')
    let refused = 0
    for (let at = 0; at < whole.length; at += 3) {
      const damaged = Uint8Array.from(whole)
      damaged[at]! ^= 1 << (at % 8)
      const outcome = await rowsOf(place(damaged)).catch((error: unknown) => error)
      if (outcome instanceof Error) {
        refused++
        const typed = outcome instanceof FormatError || outcome instanceof OptionError
        expect([at, outcome.message, typed]).toEqual([at, outcome.message, true])
      }
    }
    expect(refused).toBeGreaterThan(whole.length / 12)
  })
})
