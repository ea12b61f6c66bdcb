/**
 * HTML that is safe by construction: whatever stands in a template is escaped, unless it is markup that another
 * template made. Values may stand in text and between double quotes of an attribute, nowhere else.
 */
import { visible } from '../visible_text.ts'

/** Text that is markup. Only templates make it, so that no field of a file can pass for it. */
export class Markup {
  readonly #text: string
  private constructor(text: string) {
    this.#text = text
  }
  static of(strings: TemplateStringsArray, parts: readonly Part[]): Markup {
    return new Markup(strings.map((literal, i) => (i === 0 ? '' : written(parts[i - 1])) + literal).join(''))
  }
  static is(value: unknown): value is Markup {
    return typeof value === 'object' && value !== null && #text in value
  }
  toString(): string {
    return this.#text
  }
}

export type Part = Markup | string | number | false | null | undefined | readonly Part[]

/**
 * A piece of a page. Lists are joined without anything between them; undefined, null and false are nothing.
 *
 * @example html`<td title="${name}">${name}</td>`
 */
export const html = (strings: TemplateStringsArray, ...parts: Part[]): Markup => Markup.of(strings, parts)

function written(part: Part): string {
  if (part === undefined || part === null || part === false) return ''
  if (Array.isArray(part)) return part.map(written).join('')
  return Markup.is(part) ? part.toString() : escaped(visible(String(part)))
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
}

const escaped = (text: string): string => text.replace(/[&<>"'`]/g, (c) => entities[c]!)
