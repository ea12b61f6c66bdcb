/** Texts of requests as token ids. Long ones are read in parts, so that other requests are answered meanwhile. */
import { setImmediate } from 'node:timers/promises'
import type { EncodeStream } from '../formats/tokenizer/encode_stream.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { frameOf } from '../models/bert/first_tokens.ts'
import { OptionError } from '../tensor/errors.ts'
import { badRequest } from './api_error.ts'

/** Characters that are tokenised at once; some ten milliseconds. */
export const PART = 1 << 16
/** Characters without a place to cut, for each token of the context: more of them do not fit but in tokens that long. */
const RUN_FOR_TOKEN = 8

export interface EncodePrompt {
  tokenizer: Tokenizer
  /** Tokens that the model reads and writes, at most. */
  context: number
  /** The field that the text comes from. */
  param: string
  /** Whether the tokenizer adds its special tokens; templates write theirs. */
  addSpecialTokens: boolean
}

/**
 * Ids of a text; of an empty one that which begins texts.
 *
 * @throws ApiError 400 (context_length_exceeded) for more than the model reads: no part of a text is left out. 400
 *   (PARE_E_TEXT_PIECE) for more than 131072 characters, or 8 for each token of the context, without a place to cut.
 */
export async function encodePrompt(text: string, options: EncodePrompt): Promise<Uint32Array> {
  const { tokenizer, context, param, addSpecialTokens } = options
  const ids =
    text.length <= PART ? tokenizer.encode(text, { addSpecialTokens }) : await encodeInParts(text, options)
  checkLength(ids.length, { context, param })
  if (ids.length > 0) return ids
  const begin = tokenizer.bosId ?? tokenizer.eosIds[0]
  if (begin === undefined)
    throw badRequest(
      `${param}: one token at least is needed, and the model has none that begins texts`,
      param,
    )
  return Uint32Array.of(begin)
}

async function encodeInParts(
  text: string,
  { tokenizer, context, param, addSpecialTokens }: EncodePrompt,
): Promise<Uint32Array> {
  const [before, after] = addSpecialTokens ? frameOf(tokenizer) : [[], []]
  const stream = tokenizer.encodeStream({
    gathered: PART,
    longest: Math.max(2 * PART, RUN_FOR_TOKEN * context),
  })
  const ids = [...before]
  for (let start = 0; start < text.length; start += PART) {
    for (const id of pushed(stream, text.slice(start, start + PART), param)) ids.push(id)
    checkLength(ids.length, { context, param, more: true })
    await setImmediate()
  }
  for (const id of stream.end()) ids.push(id)
  ids.push(...after)
  return Uint32Array.from(ids)
}

function pushed(stream: EncodeStream, text: string, param: string): Uint32Array {
  try {
    return stream.push(text)
  } catch (error) {
    if (error instanceof OptionError) throw badRequest(error.message, param, error.code)
    throw error
  }
}

interface Length {
  context: number
  param: string
  /** Tokens that are asked for beside these. @default 0 */
  wanted?: number
  /** There is more of the text. @default false */
  more?: boolean
}

/** @throws ApiError 400 (context_length_exceeded) with both numbers. */
export function checkLength(tokens: number, { context, param, wanted = 0, more = false }: Length): void {
  if (tokens + wanted <= context) return
  const asked = wanted === 0 ? '' : ` and ${wanted} more were asked for`
  throw badRequest(
    `${param}: the model reads and writes ${context} tokens at most, this has ${more ? 'more than ' : ''}${tokens}${asked}; shorten it${wanted === 0 ? '' : ' or ask for fewer'}`,
    param,
    'context_length_exceeded',
  )
}
