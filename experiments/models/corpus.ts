/**
 * The text of the zoo and its eras: addresses on the State of the Union, 1790 to 2021, and Moby Dick (1851).
 *
 * The split is that of `languageData`: every tenth address and the last tenth of the novel are held out. Old and modern
 * English differ, so that results are told for each era.
 */

import type { AssetOptions } from '#src/data/assets/digits.ts'
import { type Document, type LanguageData, languageData } from '#src/data/assets/language.ts'

export interface Era {
  name: string
  /** Whether a document belongs to it. */
  holds: (document: Document) => boolean
}

const addresses = (from: number, to: number): Era => ({
  name: `${from}-${to}`,
  holds: ({ kind, year }) => kind === 'address' && year >= from && year <= to,
})

/** Each document is in exactly one. The bounds are those of the Civil War and of the two world wars. */
export const eras: readonly Era[] = [
  addresses(1790, 1860),
  addresses(1861, 1913),
  addresses(1914, 1945),
  addresses(1946, 2021),
  { name: 'Moby Dick', holds: ({ kind }) => kind === 'novel' },
]

/** The texts as they are in the files: nothing is cleaned. @throws SourceError where they are missing */
export const corpus = (options: AssetOptions): LanguageData => languageData(options)

/** Documents by era, in the order of `eras`. */
export const byEra = (documents: readonly Document[]): readonly { era: string; documents: Document[] }[] =>
  eras.map(({ name, holds }) => ({ era: name, documents: documents.filter(holds) }))

/** What is scored, and what sizes are told of: bytes of UTF-8. */
export const bytesOf = (documents: readonly Document[]): number =>
  documents.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)

/** Characters that are looked at first. */
const HEAD = 12

/**
 * For each text the share of its passages, cut every `length` characters, that stand anywhere in other texts. Presidents
 * quote treaties, and themselves.
 */
export function sharedShares(texts: readonly string[], others: readonly string[], length = 100): number[] {
  const cut = texts.map((text) =>
    Array.from({ length: Math.floor(text.length / length) }, (_, i) =>
      text.slice(i * length, (i + 1) * length),
    ),
  )
  const wanted = new Set(cut.flat())
  // Few places begin like a passage: the long comparison is for them alone.
  const heads = new Set(cut.flat().map((passage) => passage.slice(0, HEAD)))
  const found = new Set<string>()
  for (const other of others)
    for (let at = 0; at + length <= other.length; at++) {
      if (!heads.has(other.slice(at, at + Math.min(HEAD, length)))) continue
      const passage = other.slice(at, at + length)
      if (wanted.has(passage)) found.add(passage)
    }
  return cut.map((passages) =>
    passages.length === 0 ? 0 : passages.filter((passage) => found.has(passage)).length / passages.length,
  )
}
