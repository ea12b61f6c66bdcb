/** Values of a tokenizer in GGUF metadata, checked as they are taken. */
import { FormatError, printable } from '../../tensor/errors.ts'
import type { GgufMetadata } from '../gguf/metadata.ts'

export const PREFIX = 'tokenizer.ggml.'

/** @throws FormatError that names the key, what is needed and what was found. */
export function wrongValue(key: string, needed: string, found: string): FormatError {
  return new FormatError(
    `${printable(key)}: ${needed} is needed, ${found}; the file is damaged or was converted badly, convert it again`,
    { code: 'PARE_E_GGUF_TOKENIZER', facts: { key } },
  )
}

export function stringOf(metadata: GgufMetadata, key: string): string | undefined {
  const entry = metadata.get(key)
  if (entry === undefined) return undefined
  if (typeof entry.value === 'string') return entry.value
  throw wrongValue(key, 'a string', `found ${entry.type}`)
}

export function boolOf(metadata: GgufMetadata, key: string): boolean | undefined {
  const entry = metadata.get(key)
  if (entry === undefined) return undefined
  if (typeof entry.value === 'boolean') return entry.value
  throw wrongValue(key, 'a bool', `found ${entry.type}`)
}

/** An id below `size`; other writers use any integer type. */
export function idOf(metadata: GgufMetadata, key: string, size: number): number | undefined {
  const entry = metadata.get(key)
  if (entry === undefined) return undefined
  const id = Number(entry.value)
  if ((typeof entry.value === 'number' || typeof entry.value === 'bigint') && Number.isInteger(id)) {
    // Some writers mark an absent token with -1.
    if (id === -1 || id === 2 ** 32 - 1) return undefined
    if (id >= 0 && id < size) return id
  }
  throw wrongValue(key, `an id below ${size}`, `found ${printable(String(entry.value))}`)
}

export function stringsOf(metadata: GgufMetadata, key: string): readonly string[] | undefined {
  const entry = metadata.get(key)
  if (entry === undefined) return undefined
  if (Array.isArray(entry.value) && entry.value.every((text) => typeof text === 'string')) return entry.value
  throw wrongValue(key, 'an array of strings', `found ${entry.type}`)
}

/** Finite numbers, `length` of them. */
export function numbersOf(
  metadata: GgufMetadata,
  key: string,
  length: number,
): ArrayLike<number> | undefined {
  const entry = metadata.get(key)
  if (entry === undefined) return undefined
  const { value } = entry
  const list = Array.isArray(value) || ArrayBuffer.isView(value) ? (value as unknown as unknown[]) : undefined
  if (!list || !Array.prototype.every.call(list, Number.isFinite))
    throw wrongValue(key, 'an array of numbers', `found ${entry.type}`)
  if (list.length !== length) throw wrongValue(key, `one number a token (${length})`, `found ${list.length}`)
  return list as ArrayLike<number>
}
