/** The tensors of one weight of a Pare folder, or of one part of a tree, read in part or whole and checked. */
import type { TensorArchive, TensorInfo } from '../../formats/archive.ts'
import { unpackRows } from '../../formats/bit_stream.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { asStorage, type DType, fromBytes, type Tensor, tensor } from '../../tensor/index.ts'
import { columnType } from './pare_tensors.ts'
import { readPart } from './stored_layer.ts'

export type Rows = readonly [start: number, end: number]

export class Parts {
  private readonly archive: TensorArchive
  private readonly name: string
  private readonly infos: ReadonlyMap<string, TensorInfo>
  constructor(archive: TensorArchive, name: string, infos: ReadonlyMap<string, TensorInfo>) {
    this.archive = archive
    this.name = name
    this.infos = infos
  }

  bytes(suffix: string, rows?: Rows): Uint8Array {
    const { name, type, shape } = this.infos.get(`${this.name}.${suffix}`)!
    return readPart(this.archive, name, { types: [type], shape, code: 'PARE_E_PARE_FOLDER' }, rows)
  }

  /** A tensor of numbers in the type that they are stored in. */
  numbers(suffix: string, type: DType, rows?: Rows): Tensor {
    const { shape } = this.infos.get(`${this.name}.${suffix}`)!
    return fromBytes(this.bytes(suffix, rows), rows ? [rows[1] - rows[0], ...shape.slice(1)] : shape, type)
  }

  words(suffix: string, rows?: Rows): Uint32Array {
    return asStorage('u32', this.bytes(suffix, rows)) as Uint32Array
  }

  /** Codes u8 [rows, columns] of some rows. */
  codes(suffix: string, [start, end]: Rows, columns: number, bits: number): Tensor {
    const count = end - start
    return tensor(unpackRows(this.words(suffix, [start, end]), count, columns, bits), [count, columns], 'u8')
  }

  /** Numbers of columns, each below `width`. */
  columns(suffix: string, width: number, rows?: Rows): Uint32Array {
    const type = columnType(width) === 'U16' ? 'u16' : 'u32'
    const columns = Uint32Array.from(asStorage(type, this.bytes(suffix, rows)) as Uint16Array)
    if (columns.some((column) => column >= width))
      throw this.wrong(suffix, `names a column past the last of ${width}`)
    return columns
  }

  /** Where rows begin in what is stored row after row: of rows `start` to `end`, and where the last ends. */
  rowOffsets([start, end]: Rows, entries: number): Uint32Array {
    const offsets = this.words('row_offsets', [start, end + 1])
    const { shape } = this.infos.get(`${this.name}.row_offsets`)!
    const rows = shape[0]! - 1
    const falls = offsets.some((offset, i) => offset > entries || (i > 0 && offset < offsets[i - 1]!))
    if (falls || (start === 0 && offsets[0] !== 0) || (end === rows && offsets.at(-1) !== entries))
      throw this.wrong('row_offsets', `needs offsets that rise from 0 to ${entries}`)
    return offsets
  }

  wrong(suffix: string, what: string): FormatError {
    const tensor = `${this.name}.${suffix}`
    return new FormatError(`${printable(tensor)}: ${what}; the folder is damaged`, {
      code: 'PARE_E_PARE_FOLDER',
      facts: { tensor },
    })
  }
}
