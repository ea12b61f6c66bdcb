/**
 * Byte-level byte pair encoding from texts, as GPT-2 has it.
 *
 *   words     runs of letters, of digits, of other signs or of white space, a blank before one belonging to it
 *   tokens    the special ones, the 256 bytes in the order of their characters, then one a merge
 *   merge     the pair of neighbours in words that occurs most often, of equals the one with the lowest ids
 *
 * Radford et al. 2019 (GPT-2), section 2.2; Sennrich et al. 2016, arXiv:1508.07909, algorithm 1. The merges are those of
 * Hugging Face's `tokenizers`. The order of the texts does not matter, and the same words give the same file.
 */
import { binding } from '../../tensor/binding.ts'
import { AbortError, OptionError, printable, ResourceError } from '../../tensor/errors.ts'
import { nativeFault } from '../../tensor/native.ts'

export interface ByteLevelBpeOptions {
  /** Tokens in all, with the special ones: at least 256 + their number, at most 2^18. */
  vocabulary: number
  /** Texts of the special tokens, which get the ids from 0 on; not empty, without blanks. @default ['<|endoftext|>'] */
  special?: readonly string[]
  /** Looked at between the texts; the merges that follow take some seconds and do not look. */
  signal?: AbortSignal | undefined
}

export const largestVocabulary = 2 ** 18

/** UTF-16 units of all texts together: the trainer counts pairs in 31 bits. */
const MOST_TEXT = 2 ** 30

/** Different words; each takes about 200 bytes while pairs are merged. */
const MOST_WORDS = 2 ** 22

/**
 * The text of a tokenizer.json for `createTokenizer`, transformers and `tokenizers`. One text is in memory at a time,
 * and the different words of all.
 *
 * @throws OptionError for options that cannot be, an empty text, and one with too few pairs that occur twice;
 * ResourceError past 2^30 characters or 2^22 different words; AbortError when `signal` stops it.
 * @example createTokenizer(trainByteLevelBpe(texts, { vocabulary: 2048 })).encode('the sea')
 */
export function trainByteLevelBpe(
  texts: Iterable<string>,
  { vocabulary, special = ['<|endoftext|>'], signal }: ByteLevelBpeOptions,
): string {
  checkSpecial(special)
  checkVocabulary(vocabulary, special.length)
  const words = countWords(texts, signal)
  if (words.size === 0)
    throw new OptionError('tokenizer: the texts are empty; give a file with text in it', {
      code: 'PARE_E_EMPTY_TEXT',
    })
  const json = native(`${words.size} different words`, () =>
    binding().trainBytePairs([...words.keys()], [...words.values()], vocabulary, [...special]),
  )
  if (signal?.aborted) throw new AbortError()
  checkMerges(json, special)
  return json
}

function countWords(texts: Iterable<string>, signal: AbortSignal | undefined): Map<string, number> {
  const counts = new Map<string, number>()
  let characters = 0
  let index = 0
  for (const text of texts) {
    if (signal?.aborted) throw new AbortError()
    characters += text.length
    if (characters > MOST_TEXT) throw tooMuch('characters', characters, MOST_TEXT)
    const found = native(`text ${index}`, () => binding().byteLevelWords(text))
    for (const [i, word] of found.words.entries())
      counts.set(word, (counts.get(word) ?? 0) + found.counts[i]!)
    if (counts.size > MOST_WORDS) throw tooMuch('different words', counts.size, MOST_WORDS)
    index++
  }
  return counts
}

const tooMuch = (what: string, found: number, limit: number) =>
  new ResourceError(
    `tokenizer: texts with at most ${limit} ${what} are read, these have ${found} and more; give a sample of them`,
    { code: 'PARE_E_TOO_MUCH_TEXT', facts: { what, found, limit } },
  )

function native<T>(what: string, call: () => T): T {
  try {
    return call()
  } catch (cause) {
    const fault = nativeFault(cause)
    if ((cause as { code?: unknown }).code !== 'PARE_E_FORMAT') throw fault
    throw new OptionError(
      `tokenizer: ${what}: ${printable((cause as Error).message, 300)}; give more or other text, or a smaller vocabulary`,
      { code: 'PARE_E_TOKENIZER_TEXT', cause },
    )
  }
}

function checkVocabulary(vocabulary: number, special: number): void {
  const least = 256 + special
  if (Number.isInteger(vocabulary) && vocabulary >= least && vocabulary <= largestVocabulary) return
  throw new OptionError(
    `vocabulary: a whole number from ${least} (bytes and special tokens) to ${largestVocabulary} is needed, got ${vocabulary}; 4096 suits ten megabytes of text`,
  )
}

function checkSpecial(special: readonly string[]): void {
  if (new Set(special).size < special.length)
    throw new OptionError(
      `special: each token may stand once, got ${special.map((s) => printable(s)).join(', ')}`,
    )
  for (const token of special)
    if (!/^[^\s\u007f-\u009f\ud800-\udfff]{2,64}$/u.test(token))
      throw new OptionError(
        `special: a token of 2 to 64 characters without blanks is needed, got "${printable(token)}"; <|endoftext|> is usual`,
      )
}

/** A word of the text that is merged to the text of a special token would share its id. */
function checkMerges(json: string, special: readonly string[]): void {
  const { model } = JSON.parse(json) as { model: { merges: [string, string][] } }
  const made = new Set(model.merges.map((pair) => pair.join('')))
  const shared = special.find((token) => made.has(token))
  if (shared === undefined) return
  throw new OptionError(
    `special: "${printable(shared)}" is also a word of the texts; choose a text that does not occur in them`,
  )
}
