/**
 * The first ids of a text. With a WordPiece tokenizer only the beginning of a long text is tokenised; with another the whole
 * text is, and then cut.
 */

import { isRecord } from '../../formats/json.ts'
import type { Tokenizer } from '../../formats/tokenizer/tokenizer.ts'
import { OptionError } from '../../tensor/errors.ts'

/**
 * Ids of a text, special ones around it, at most `most` of them in all.
 *
 * @throws OptionError where the special ones alone are more
 */
export type BoundedEncoder = (text: string, most: number) => Uint32Array

/**
 * Cuts a text as truncation of Hugging Face's tokenizers does: its first ids stay, the special ones around them too.
 *
 * @example boundedEncoder(tokenizer)('a long text', 256)
 */
export function boundedEncoder(tokenizer: Tokenizer): BoundedEncoder {
  const [before, after] = frameOf(tokenizer)
  const word = longestWord(tokenizer)
  return (text, most) => {
    const room = most - before.length - after.length
    if (!(room >= 0))
      throw new OptionError(
        `length of a text: needs ${before.length + after.length} ids for the special ones alone, got ${most}; take a longer one`,
      )
    const ids = firstTokens(tokenizer, text, room, word)
    const whole = new Uint32Array(before.length + ids.length + after.length)
    whole.set(before)
    whole.set(ids, before.length)
    whole.set(after, before.length + ids.length)
    return whole
  }
}

/** How many special ids stand around every text. */
export function countFrame(tokenizer: Tokenizer): number {
  const [before, after] = frameOf(tokenizer)
  return before.length + after.length
}

/** The special ids before and after a text. */
export function frameOf(tokenizer: Tokenizer): [Uint32Array, Uint32Array] {
  const bare = tokenizer.encode('a', { addSpecialTokens: false })
  const framed = tokenizer.encode('a')
  const start = framed.findIndex((_, i) => bare.every((id, j) => framed[i + j] === id))
  return [framed.slice(0, start), framed.slice(start + bare.length)]
}

/**
 * Tokens that the last word of a text may have, at most: only they may change where the text goes on. Infinity where
 * the model is not WordPiece, which makes one token of every longer word.
 */
function longestWord(tokenizer: Tokenizer): number {
  const { model } = JSON.parse(tokenizer.json()) as { model: unknown }
  if (!isRecord(model) || model.type !== 'WordPiece') return Number.POSITIVE_INFINITY
  return typeof model.max_input_chars_per_word === 'number' ? model.max_input_chars_per_word : 100
}

/** Characters of the first part that is tokenised, for each token that is wanted. */
const charactersPerToken = 8

function firstTokens(tokenizer: Tokenizer, text: string, count: number, word: number): Uint32Array {
  let size = Number.isFinite(word) ? charactersPerToken * (count + word) : text.length
  for (;;) {
    const whole = size >= text.length
    const ids = tokenizer.encode(whole ? text : text.slice(0, size), { addSpecialTokens: false })
    if (whole || ids.length - word >= count) return ids.slice(0, count)
    size *= 4
  }
}
