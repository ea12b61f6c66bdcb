/** Arrays of strings in headers: checked as bytes, made when they are asked for. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { bytesSource } from '../file.ts'
import { openGgufSource } from './container.ts'
import { fileOf, header, text, u32, u64 } from './header_bytes.suite.ts'

/** A header with one array of strings, given as bytes. */
const fileWith = (strings: readonly Uint8Array[]) =>
  fileOf(
    [
      ...header(0, 1),
      ...text('t'),
      ...[...u32(9), ...u32(8), ...u64(strings.length)],
      ...strings.flatMap((bytes) => [...u64(bytes.length), ...bytes]),
    ],
    0,
  )
/** Reads some bytes at a time, so that strings meet the ends of windows. */
const read = (strings: readonly Uint8Array[], readAhead: number) =>
  openGgufSource({ ...bytesSource('t.gguf', fileWith(strings)), readAhead }).metadata.get('t')

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const decoded = (bytes: Uint8Array): string | undefined => {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}
const windows = fc.integer({ min: 1, max: 400 })

test('any strings come back, also long ones and where windows end', () => {
  // A length of 128 and more has bytes that are no ASCII.
  const strings = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 12 }),
    fc.string({ unit: 'binary', minLength: 60, maxLength: 300 }),
    fc.constantFrom('', '\uFEFFa', 'Ġthe', '\0'),
  )
  fc.assert(
    fc.property(fc.array(strings, { maxLength: 8 }), windows, (list, readAhead) => {
      const found = read(
        list.map((string) => new TextEncoder().encode(string)),
        readAhead,
      )
      expect(found).toEqual({ type: 'array', element: 'string', value: list })
      // They are made once.
      expect(found!.value).toBe(found!.value)
    }),
  )
})
test('bytes are refused exactly where one of the strings by itself is no UTF-8', () => {
  // Beginnings and continuations of characters, which together may look whole across two strings.
  const piece = fc.constantFrom(0x41, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xff)
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 4, min: 0, max: 255 }),
    fc.array(piece, { maxLength: 5 }).map((list) => Uint8Array.from(list)),
    // Behind a torn character, the length 0xa9 of the next string would complete it.
    fc.constantFrom(Uint8Array.of(0xc3), new Uint8Array(0xa9).fill(0x41)),
  )
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 6 }), windows, (list, readAhead) => {
      const texts = list.map(decoded)
      if (texts.every((string) => string !== undefined)) expect(read(list, readAhead)!.value).toEqual(texts)
      else expect(() => read(list, readAhead)).toThrow(FormatError)
    }),
    { numRuns: 1000 },
  )
})
test('a character that only the length of the next string completes is refused', () => {
  const torn = [Uint8Array.of(0x41, 0xc3), new Uint8Array(0xa9).fill(0x41)]
  expect(() => read(torn, 1000)).toThrow(/not valid UTF-8/)
})
