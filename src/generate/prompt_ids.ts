/** A text as token ids, in bounded time: long texts are read in parts, and only as far as a context goes. */
import { setImmediate } from 'node:timers/promises'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { frameOf } from '../models/bert/first_tokens.ts'
import { AbortError } from '../tensor/errors.ts'

/** Characters that are tokenised at once; some ten milliseconds. */
export const PART = 1 << 16
/** Characters without a place to cut, for each token of the context: more of them do not fit but in tokens that long. */
const RUN_FOR_TOKEN = 8

export interface PromptIdsOptions {
  tokenizer: Tokenizer
  /** Ids that are of use, at most. */
  context: number
  /** Whether the tokenizer adds its special tokens; templates write theirs. */
  addSpecialTokens: boolean
  /** Stops between two parts. @default nothing does */
  signal?: AbortSignal | undefined
}

export interface PromptIds {
  ids: Uint32Array
  /** Ids are above `context`, and the text has more. */
  more: boolean
}

/**
 * Ids of a text; of one that does not fit the context as many as were found by then. Between parts others may run.
 *
 * @throws OptionError (PARE_E_TEXT_PIECE) for more than 131072 characters, or 8 for each token of the context, without a
 *   place to cut; AbortError when `signal` stops it.
 * @example await promptIds('Once upon a time', { tokenizer, context: 2048, addSpecialTokens: true })
 */
export async function promptIds(text: string, options: PromptIdsOptions): Promise<PromptIds> {
  const { tokenizer, context, addSpecialTokens, signal } = options
  if (text.length <= PART) return { ids: tokenizer.encode(text, { addSpecialTokens }), more: false }
  const [before, after] = addSpecialTokens ? frameOf(tokenizer) : [[], []]
  const stream = tokenizer.encodeStream({
    gathered: PART,
    longest: Math.max(2 * PART, RUN_FOR_TOKEN * context),
  })
  const ids = [...before]
  for (let start = 0; start < text.length; start += PART) {
    for (const id of stream.push(text.slice(start, start + PART))) ids.push(id)
    if (ids.length > context) return { ids: Uint32Array.from(ids), more: true }
    await setImmediate()
    if (signal?.aborted) throw new AbortError()
  }
  for (const id of stream.end()) ids.push(id)
  ids.push(...after)
  return { ids: Uint32Array.from(ids), more: false }
}
