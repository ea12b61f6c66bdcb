/** A weight of a checkpoint that is stored as codes, in several tensors of the archive. */
import type { TensorArchive } from '../../formats/archive.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import type { WeightInfo } from '../model_weights.ts'

export interface StoredLayer {
  readonly info: WeightInfo
  /** Its tensors in the archive: they are no weights by themselves. */
  readonly parts: readonly string[]
  /** Rows `start` to `end` (exclusive) as they are stored. @throws FormatError where the parts do not fit. */
  values(start: number, end: number): StoredValues
}

/** What a part must be. */
export interface PartNeed {
  readonly types: readonly string[]
  readonly shape: readonly number[]
  /** Of the error. */
  readonly code: string
}

/**
 * The bytes of a part, all or rows `start` to `end` of its first axis, with its type and shape checked.
 *
 * @throws FormatError for a part that is missing or is something else.
 */
export function readPart(
  archive: TensorArchive,
  name: string,
  { types, shape, code }: PartNeed,
  rows?: readonly [start: number, end: number],
): Uint8Array {
  const entry = archive.tensors.get(name)
  const fits =
    entry &&
    types.includes(entry.type) &&
    entry.shape.length === shape.length &&
    shape.every((n, i) => n === entry.shape[i])
  if (fits) return rows ? archive.readRows(name, ...rows) : archive.read(name)
  const found = entry ? `${entry.type} [${entry.shape.join(', ')}]` : 'nothing'
  throw new FormatError(
    `${printable(name)}: needs ${types.join(' or ')} [${shape.join(', ')}], the file has ${found}; it is damaged or its configuration does not fit`,
    { code, facts: { tensor: name, found } },
  )
}

/** Bytes of all parts of a layer that are there. */
export const bytesOfParts = (archive: TensorArchive, parts: readonly string[]): number =>
  parts.reduce((sum, part) => sum + (archive.tensors.get(part)?.bytes ?? 0), 0)

/** 32-bit words of a part. */
export const unsignedWords = (bytes: Uint8Array): Uint32Array =>
  new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)

export const signedWords = (bytes: Uint8Array): Int32Array =>
  new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
