/** Passages for encoders: some words each, at evenly spaced places of a text. */
import { OptionError } from '../tensor/errors.ts'
import { readTexts, type TextSource } from './text_samples.ts'

export interface Passages {
  texts: string[]
  /** Why there are fewer than asked for. */
  note?: string
}

export interface PassageOptions {
  /** @default 20 */
  count?: number
  /** Words of each. @default 60 */
  words?: number
}

/** Characters of the longest word; what is longer counts as several. */
const LONGEST_WORD = 256

/**
 * Passages of files that are read as one text: passage i of n begins with word floor(i * all / n), and none overlap.
 * Words are what white space parts, joined again by single blanks. Every file is read twice, in pieces.
 *
 * @throws OptionError where the text has not the words of one passage
 * @example readPassages(['speeches.txt'], open, { count: 48 })
 */
export function readPassages(
  files: readonly string[],
  source: TextSource,
  { count = 20, words = 60 }: PassageOptions = {},
): Passages {
  let all = 0
  for (const _ of wordsOf(readTexts(files, source))) all++
  const possible = Math.min(count, Math.floor(all / words))
  if (possible === 0)
    throw new OptionError(
      `evaluation: one passage needs ${words} words, the text has ${all}; give more text`,
      {
        code: 'PARE_E_SHORT_TEXT',
        facts: { needed: words, found: all },
      },
    )
  const texts: string[] = []
  let [at, passage]: [number, string[]] = [0, []]
  for (const word of wordsOf(readTexts(files, source))) {
    if (at++ < Math.floor((texts.length * all) / possible)) continue
    passage.push(word)
    if (passage.length < words) continue
    texts.push(passage.join(' '))
    passage = []
    if (texts.length === possible) break
  }
  return {
    texts,
    ...(possible < count ? { note: `the text holds ${possible} of the ${count} passages asked for` } : {}),
  }
}

/** The words of a text that comes in pieces. */
function* wordsOf(pieces: Iterable<string>): Generator<string> {
  let rest = ''
  for (const piece of pieces) {
    const parts = (rest + piece).split(/\s+/u)
    rest = parts.pop()!
    for (const part of parts) yield* bounded(part)
    if (rest.length > LONGEST_WORD) {
      const whole = rest.length - (rest.length % LONGEST_WORD)
      yield* bounded(rest.slice(0, whole))
      rest = rest.slice(whole)
    }
  }
  yield* bounded(rest)
}

function* bounded(word: string): Generator<string> {
  for (let at = 0; at < word.length; at += LONGEST_WORD) yield word.slice(at, at + LONGEST_WORD)
}
