/** What the packings of checkpoints check: sizes and lengths that must agree, codes that must fit their bits. */
import { FormatError, OptionError } from '../tensor/errors.ts'

/** Extents of a shape are whole numbers from 0 on. @throws FormatError with `code` */
export function checkSizes(sizes: Readonly<Record<string, number>>, code: string): void {
  for (const [name, size] of Object.entries(sizes))
    if (!Number.isSafeInteger(size) || size < 0)
      throw new FormatError(`${name} must be a whole number from 0 on, found ${size}; the shape is wrong`, {
        code,
        facts: { name, found: size },
      })
}

/** An array of a file has as many entries as its shape says. @throws FormatError with `code` */
export function checkLength(
  what: string,
  array: { readonly length: number },
  needed: number,
  code: string,
): void {
  if (array.length === needed) return
  throw new FormatError(`${needed} ${what} are needed, found ${array.length}; the layer is damaged`, {
    code,
    facts: { what, needed, found: array.length },
  })
}

/** Codes that are to be packed are as many as their shape says, and below 2^bits. @throws OptionError with `code` */
export function checkCodes(
  codes: Uint8Array | Uint16Array,
  length: number,
  bits: number,
  code: string,
): void {
  const largest = 2 ** bits - 1
  if (codes.length !== length)
    throw new OptionError(`${length} codes are needed, got ${codes.length}; the shape is wrong`, {
      code,
      facts: { bits, found: codes.length },
    })
  for (const found of codes)
    if (found > largest)
      throw new OptionError(
        `a code of ${bits} bits is at most ${largest}, got ${found}; quantise to ${bits} bits first`,
        { code, facts: { bits, found } },
      )
}
