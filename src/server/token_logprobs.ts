/** Chances of tokens in OpenAI's two forms: that of chats and that of completions. */
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import type { TokenChance, TokenChances } from '../generate/generation.ts'
import { badRequest } from './api_error.ts'

export interface ChatTokenLogprob {
  token: string
  /** Natural logarithm. */
  logprob: number
  /** UTF-8, also of tokens that are a part of a character. */
  bytes: number[]
}

/** Chances in one answer; some thirty bytes each. */
const MOST_CHANCES = 2 ** 20

/** @throws ApiError 400 where an answer of so many tokens, with so many likely ones beside each, would be too large. */
export function checkChances(tokens: number, top: number): void {
  const chances = tokens * (1 + top)
  if (chances <= MOST_CHANCES) return
  throw badRequest(
    `logprobs: at most ${MOST_CHANCES} chances fit one answer, these texts may have ${chances}; ask for fewer texts or tokens at once`,
    'logprobs',
    'invalid_value',
  )
}

/** OpenAI's number for what is out of reach; JSON has no minus infinity. */
const LEAST = -9999
const logprobOf = (logprob: number): number => Math.max(logprob, LEAST)

/** One element of `choices[].logprobs.content` of a chat. */
export function chatLogprob(
  { id, logprob, top }: TokenChances,
  tokenizer: Tokenizer,
): ChatTokenLogprob & { top_logprobs: ChatTokenLogprob[] } {
  const one = (chance: TokenChance): ChatTokenLogprob => ({
    token: tokenizer.tokenText(chance.id),
    logprob: logprobOf(chance.logprob),
    bytes: [...tokenizer.tokenBytes(chance.id)],
  })
  return { ...one({ id, logprob }), top_logprobs: top.map(one) }
}

/** `choices[].logprobs` of a completion; the first token of a prompt has no chance. */
export interface CompletionLogprobs {
  tokens: string[]
  token_logprobs: (number | null)[]
  top_logprobs: (Record<string, number> | null)[]
  /** Where each token begins in the text, in code points. */
  text_offset: number[]
}

/** Gathers the tokens of one text, its echoed prompt first. */
export class CompletionTokens {
  readonly #tokenizer: Tokenizer
  readonly #stream: { push(id: number): string }
  #offset = 0

  /** @param bare whether special tokens take no place in the text */
  constructor(tokenizer: Tokenizer, bare: boolean) {
    this.#tokenizer = tokenizer
    this.#stream = tokenizer.stream({ skipSpecialTokens: bare })
  }

  /** The next tokens; the chance of one may be missing. */
  add(tokens: readonly { id: number; chances?: TokenChances | undefined }[]): CompletionLogprobs {
    const added: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
    for (const { id, chances } of tokens) {
      added.tokens.push(legacyToken(id, this.#tokenizer))
      added.token_logprobs.push(chances ? logprobOf(chances.logprob) : null)
      added.top_logprobs.push(chances ? topOf(chances, this.#tokenizer) : null)
      added.text_offset.push(this.#offset)
      for (const _ of this.#stream.push(id)) this.#offset += 1
    }
    return added
  }
}

/** Joins what `add` gave. */
export function joinLogprobs(parts: readonly CompletionLogprobs[]): CompletionLogprobs {
  return {
    tokens: parts.flatMap((part) => part.tokens),
    token_logprobs: parts.flatMap((part) => part.token_logprobs),
    top_logprobs: parts.flatMap((part) => part.top_logprobs),
    text_offset: parts.flatMap((part) => part.text_offset),
  }
}

/** The most likely tokens, and the one that was taken, by their texts. */
function topOf({ id, logprob, top }: TokenChances, tokenizer: Tokenizer): Record<string, number> {
  const found: Record<string, number> = Object.create(null)
  for (const chance of [...top, { id, logprob }]) {
    const text = legacyToken(chance.id, tokenizer)
    found[text] = Math.max(found[text] ?? Number.NEGATIVE_INFINITY, logprobOf(chance.logprob))
  }
  return found
}

/** The text of a token; of a part of a character its bytes, `bytes:\xf0\x9f`, so that no two of them are one key. */
function legacyToken(id: number, tokenizer: Tokenizer): string {
  const text = tokenizer.tokenText(id)
  if (!text.includes('\ufffd')) return text
  const bytes = [...tokenizer.tokenBytes(id)]
  return `bytes:${bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`
}
