/** Readers of option values; commander calls them with the text that was typed. */
import { InvalidArgumentError } from 'commander'
import { parseSize, sizeForm } from '../run/byte_size.ts'
import type { Override } from '../run/override.ts'
import { dampingField, type OwnField, type OwnFieldName, ownFields } from '../run/own_fields.ts'

/** A whole number from `least` on. */
export const whole =
  (least: number) =>
  (text: string): number => {
    const value = Number(text)
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value
    throw new InvalidArgumentError(`A whole number from ${least} on is needed.`)
  }

/** A number above 0. */
export function positive(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value
  throw new InvalidArgumentError('A number above 0 is needed.')
}

/** The value of a field. */
const fieldValue =
  ({ schema, range }: Pick<OwnField, 'schema' | 'range'>) =>
  (text: string): string | number => {
    for (const value of text.trim() === '' ? [text] : [Number(text), text])
      if (schema.safeParse(value).success) return value
    throw new InvalidArgumentError(`${range[0]!.toUpperCase()}${range.slice(1)} is needed.`)
  }

/** The value of an option that only some methods read. */
export const ownValue = (name: OwnFieldName) => fieldValue(ownFields[name])
export const damping = fieldValue(dampingField)

/** A number from `least` to `most`. */
export const between =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text)
    if (text.trim() !== '' && value >= least && value <= most) return value
    throw new InvalidArgumentError(`A number from ${least} to ${most} is needed.`)
  }

/** A number above 0, up to 1. */
export function share(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value > 0 && value <= 1) return value
  throw new InvalidArgumentError('A number above 0, up to 1 is needed.')
}

/** A number from 1 on. */
export function atLeast1(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value) && value >= 1) return value
  throw new InvalidArgumentError('A number from 1 on is needed.')
}

/** A size as in recipes, in bytes. */
export function size(text: string): number {
  const bytes = parseSize(text)
  if (bytes !== undefined) return bytes
  throw new InvalidArgumentError(`A size is needed: ${sizeForm}.`)
}

/** `3,4,8` or `Q3_K,Q4_K`. */
export function levels(text: string): (number | string)[] {
  const parts = text.split(',').map((part) => part.trim())
  if (parts.includes(''))
    throw new InvalidArgumentError('Bits or block types are needed, with commas between them.')
  return parts.map((part) => (/^\d{1,3}$/.test(part) ? Number(part) : part))
}

/** Columns per group, or one group a row. */
export function groupSize(text: string): number | 'row' {
  return text === 'row' || text === '-1' ? 'row' : whole(1)(text)
}

/** Readers of the fields of an override. */
const overrideFields: Readonly<Record<string, (text: string) => Partial<Override>>> = {
  scheme: (scheme) => ({ scheme }),
  bits: (bits) => ({ bits: whole(1)(bits) }),
  'group-size': (size) => ({ groupSize: groupSize(size) }),
  symmetric: (text) => ({ symmetric: yesOrNo(text) }),
  keep: (text) => ({ keep: yesOrNo(text) }),
}

/** `PATTERN=scheme:Q5_K`, after those that were typed before. Fields hold no `=`, patterns may. */
export function override(text: string, before: readonly Override[] = []): Override[] {
  const at = text.lastIndexOf('=')
  if (at < 1) throw new InvalidArgumentError('PATTERN=FIELD:VALUE is needed.')
  const fields = text
    .slice(at + 1)
    .split(',')
    .map((field) => {
      const [, name, value = ''] = /^([^:]*):?(.*)$/.exec(field)!
      const read = Object.hasOwn(overrideFields, name!) ? overrideFields[name!] : undefined
      if (read) return read(value)
      throw new InvalidArgumentError(`The fields are ${Object.keys(overrideFields).join(', ')}.`)
    })
  return [...before, Object.assign({ match: text.slice(0, at), at: '--override' }, ...fields)]
}

function yesOrNo(text: string): boolean {
  if (['', 'true', 'false'].includes(text)) return text !== 'false'
  throw new InvalidArgumentError('true or false is needed.')
}
