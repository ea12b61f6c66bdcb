/** A weight of a checkpoint that is stored as codes, in several tensors of the archive. */
import type { TensorArchive } from '../../formats/archive.ts'
import { decodeToF32 } from '../../formats/safetensors/decode.ts'
import type { AffineValues, GridForm } from '../../nn/grid.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { FormatError, OptionError, printable } from '../../tensor/errors.ts'
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

/** Modules that have a part of this name, in the order of the file. */
export const modulesWith = (archive: TensorArchive, suffix: string): string[] =>
  [...archive.tensors.keys()].flatMap((name) =>
    name.endsWith(`.${suffix}`) ? [name.slice(0, -suffix.length - 1)] : [],
  )

/** Those of the parts of a module that are there. */
export const partsOf = (archive: TensorArchive, stem: string, suffixes: readonly string[]): string[] =>
  suffixes.map((suffix) => `${stem}.${suffix}`).filter((name) => archive.tensors.has(name))

/** What scales are stored in, and as what a grid names it. */
const scaleTypes = { F16: 'f16', BF16: 'bf16', F32: 'f32' } as const satisfies Record<
  string,
  GridForm['scaleType']
>
export const scaleTypeNames = Object.keys(scaleTypes)

export const scaleTypeOf = (archive: TensorArchive, name: string): GridForm['scaleType'] =>
  scaleTypes[archive.tensors.get(name)?.type as keyof typeof scaleTypes] ?? 'f32'

/** A part of any number type in f32, all or some rows of its first axis. @throws FormatError as `readPart` */
export function readNumbers(
  archive: TensorArchive,
  name: string,
  need: PartNeed,
  rows?: readonly [start: number, end: number],
): Float32Array {
  const bytes = readPart(archive, name, need, rows)
  const [first = 1, ...rest] = need.shape
  const count = rest.reduce((product, n) => product * n, rows ? rows[1] - rows[0] : first)
  return decodeToF32(archive.tensors.get(name)!.type, bytes, count)
}

/** What a packing finds wrong, with the name of the part before it. */
export function inPart<T>(name: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof OptionError)) throw error
    const { message, code, facts } = error
    throw new FormatError(`${printable(name)}: ${message}`, { code, facts: { ...facts, tensor: name } })
  }
}

/** Outputs that stand next to each other in the words: some of them cost what all do. */
export function gridRows(values: AffineValues, start: number, end: number): AffineValues {
  const { codes, scales, zeros, ...rest } = values
  if (start === 0 && end === codes.extent(0)) return values
  return {
    ...rest,
    codes: codes.slice(0, start, end).contiguous(),
    scales: scales.slice(0, start, end).contiguous(),
    zeros: zeros.slice(0, start, end).contiguous(),
  }
}

/** A field of config.json that Pare does not read so. */
export const wrongField = (format: string, code: string, field: string, need: string, found: unknown) =>
  new FormatError(
    `quantization_config: ${field} must be ${need}, got ${printable(typeof found === 'object' ? JSON.stringify(found) : String(found))}; Pare reads no other ${format} checkpoint`,
    { code, facts: { field } },
  )

export const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export const isPositive = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) > 0
