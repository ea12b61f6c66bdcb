/** Rows of Parquet files, read by hyparquet one row group at a time. */
import zlib from 'node:zlib'
import type { FileMetaData } from 'hyparquet'
import { FormatError, OptionError, PareError, printable } from '../tensor/errors.ts'
import { type ByteSource, openFile } from './file.ts'

export interface ParquetRow {
  /** From 0. */
  row: number
  /** By the names of the columns. */
  values: Readonly<Record<string, unknown>>
}

/** Bytes of one page, or of the columns of one row group, unpacked; larger ones are refused before memory is taken for them. */
const LARGEST_PAGE = 2 ** 28
const LARGEST_GROUP = 2 ** 30

/**
 * The rows of some columns, in the order of the file; one row group is in memory at a time. Read are files without
 * compression and with snappy, gzip, brotli, and zstd where Node has it.
 *
 * @throws FormatError (PARE_E_PARQUET) naming the file and the rows that are damaged, OptionError for a column that the
 * file does not have, SourceError for an unreadable file.
 */
export async function* parquetRows(path: string, columns: readonly string[]): AsyncGenerator<ParquetRow> {
  const { parquetMetadataAsync, parquetReadObjects, parquetSchema, snappyUncompress } = await import(
    'hyparquet'
  )
  const source = openFile(path)
  try {
    const file = {
      byteLength: source.size,
      slice: (start: number, end = source.size) => slice(source, start, end),
    }
    const metadata = await guarded(path, 'its footer', () => parquetMetadataAsync(file))
    checkColumns(
      path,
      await guarded(path, 'its footer', async () => namesIn(parquetSchema(metadata))),
      columns,
    )
    let start = 0
    for (const group of metadata.row_groups) {
      const end = start + Number(group.num_rows)
      const place = `rows ${start} to ${end - 1}`
      checkGroup(path, place, group, columns)
      const compressors = unpackers(snappyUncompress)
      const options = { file, metadata, columns: [...columns], rowStart: start, rowEnd: end, compressors }
      const rows = await guarded(path, place, () => parquetReadObjects(options))
      if (rows.length !== end - start) throw damaged(path, `${place}: holds only ${rows.length} of them`)
      for (const [i, values] of rows.entries()) yield { row: start + i, values }
      start = end
    }
  } finally {
    source.close()
  }
}

function slice(source: ByteSource, start: number, end: number): ArrayBuffer {
  const from = start < 0 ? source.size + start : start
  return source.read(from, end - from).buffer as ArrayBuffer
}

/** Names of the columns; a damaged schema can leave some without. */
const namesIn = ({ children }: { children: readonly { element: { name?: unknown } }[] }) =>
  children.map(({ element }) => String(element.name))

function checkColumns(path: string, found: readonly string[], needed: readonly string[]): void {
  const missing = needed.find((name) => !found.includes(name))
  if (missing === undefined) return
  throw new OptionError(
    `${printable(path)}: column ${printable(missing)} is needed, the file has ${found.map((n) => printable(n)).join(', ')}; name one of them`,
    { code: 'PARE_E_COLUMN', facts: { path, column: missing, found } },
  )
}

/** Of the columns that are read; a file can have others that are larger. */
function checkGroup(
  path: string,
  place: string,
  { columns, num_rows }: FileMetaData['row_groups'][number],
  read: readonly string[],
): void {
  const sizes = columns
    .filter(({ meta_data }) => read.includes(String(meta_data?.path_in_schema?.[0])))
    .map(({ meta_data }) => Number(meta_data?.total_uncompressed_size ?? 0))
  const rows = Number(num_rows)
  if (!(rows >= 0 && sizes.every((size) => size >= 0))) throw damaged(path, `${place}: sizes below 0`)
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  const tooLarge = (found: number, most: number, unit: string) =>
    new FormatError(
      `${printable(path)}: ${place}: at most ${most} ${unit} of a row group are read, it has ${found} in ${read.map((n) => printable(n)).join(', ')}; write smaller row groups`,
      { code: 'PARE_E_PARQUET', facts: { path, found, most } },
    )
  if (bytes > LARGEST_GROUP) throw tooLarge(bytes, LARGEST_GROUP, 'bytes')
  if (rows > LARGEST_GROUP / 8) throw tooLarge(rows, LARGEST_GROUP / 8, 'rows')
}

type Unpack = (input: Uint8Array, length: number) => Uint8Array

/** Lengths come from the file, so they are checked before memory is taken. */
function unpackers(snappy: (input: Uint8Array, output: Uint8Array) => void) {
  const limited =
    (unpack: Unpack): Unpack =>
    (input, length) => {
      if (!(length >= 0 && length <= LARGEST_PAGE))
        throw new Error(`a page of ${length} bytes, at most ${LARGEST_PAGE} are read`)
      return unpack(input, length)
    }
  const most = { maxOutputLength: LARGEST_PAGE }
  const zstd = (zlib as { zstdDecompressSync?: (input: Uint8Array, options: object) => Uint8Array })
    .zstdDecompressSync
  return {
    SNAPPY: limited((input, length) => {
      const output = new Uint8Array(length)
      snappy(input, output)
      return output
    }),
    GZIP: limited((input) => zlib.gunzipSync(input, most)),
    BROTLI: limited((input) => zlib.brotliDecompressSync(input, most)),
    ...(zstd && { ZSTD: limited((input) => zstd(input, most)) }),
  }
}

/** What the reader throws on damaged bytes can be anything. */
async function guarded<T>(path: string, place: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof PareError && cause.code !== 'PARE_E_SHORT_READ') throw cause
    throw damaged(path, `${place}: ${printable(String((cause as Error)?.message ?? cause), 200)}`, cause)
  }
}

const damaged = (path: string, what: string, cause?: unknown) =>
  new FormatError(`${printable(path)}: ${what}; the Parquet file is damaged or of a kind that is not read`, {
    code: 'PARE_E_PARQUET',
    facts: { path },
    ...(cause !== undefined && { cause }),
  })
