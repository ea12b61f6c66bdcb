/** Texts of requests as token ids. Long ones are read in parts, so that other requests are answered meanwhile. */
import { type PromptIdsOptions, promptIds } from '../generate/prompt_ids.ts'
import { OptionError } from '../tensor/errors.ts'
import { badRequest } from './api_error.ts'

/** `context`: tokens that the model reads and writes, at most. */
export interface EncodePrompt extends PromptIdsOptions {
  /** The field that the text comes from. */
  param: string
}

/**
 * Ids of a text; of an empty one that which begins texts.
 *
 * @throws ApiError 400 (context_length_exceeded) for more than the model reads: no part of a text is left out. 400
 *   (PARE_E_TEXT_PIECE) for more than 131072 characters, or 8 for each token of the context, without a place to cut.
 */
export async function encodePrompt(text: string, options: EncodePrompt): Promise<Uint32Array> {
  const { tokenizer, context, param } = options
  if (/\p{Surrogate}/u.test(text))
    throw badRequest(
      `${param}: holds one half of a character alone (a surrogate), which no model reads; send whole characters`,
      param,
      'invalid_value',
    )
  const { ids, more } = await promptIds(text, options).catch((error: unknown) => {
    if (error instanceof OptionError) throw badRequest(error.message, param, error.code)
    throw error
  })
  checkLength(ids.length, { context, param, more })
  if (ids.length > 0) return ids
  const begin = tokenizer.bosId ?? tokenizer.eosIds[0]
  if (begin === undefined)
    throw badRequest(
      `${param}: one token at least is needed, and the model has none that begins texts`,
      param,
    )
  return Uint32Array.of(begin)
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
