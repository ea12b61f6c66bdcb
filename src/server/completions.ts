/**
 * POST /v1/completions: how texts go on, and how likely they are. With `echo`, `logprobs` and `max_tokens` 0 or 1 this is
 * what evaluation harnesses score answers with.
 */
import { setImmediate } from 'node:timers/promises'
import { z } from 'zod'
import type { GenerationRequest, TokenChances } from '../generate/generation.ts'
import { PART } from '../generate/prompt_ids.ts'
import type { Answer } from './answer.ts'
import { badRequest } from './api_error.ts'
import { MOST_TEXTS, type PromptField, promptField } from './prompt_field.ts'
import { checkLength, encodePrompt } from './prompt_tokens.ts'
import { flag, maxTokens, samplingFields, samplingRequest, whole } from './sampling_fields.ts'
import type { ServedGenerator } from './served_model.ts'
import type { TextEvent } from './text_run.ts'
import { type CompletionLogprobs, CompletionTokens, checkChances, joinLogprobs } from './token_logprobs.ts'

/** OpenAI's default. */
const DEFAULT_MAX_TOKENS = 16

export const completionSchema = z.strictObject({
  ...samplingFields,
  prompt: promptField,
  max_tokens: maxTokens(0).optional(),
  logprobs: whole(0, 20).optional(),
  echo: flag.optional(),
  best_of: whole(1, 128).optional(),
})
export type CompletionFields = z.output<typeof completionSchema>

interface Prompt {
  ids: Uint32Array
  /** As it is echoed. */
  text: string
  /** The text has no special tokens, the ids may. */
  bare: boolean
}

/** @throws ApiError 400 for a prompt that the model cannot read. */
export async function completionAnswer(fields: CompletionFields, served: ServedGenerator): Promise<Answer> {
  const { tokenizer, defaults, generator } = served
  const { n = 1, echo = false, logprobs, max_tokens: wanted = DEFAULT_MAX_TOKENS } = fields
  if ((fields.best_of ?? n) !== n)
    throw badRequest(
      'best_of: all texts are answered, none is chosen; leave it out',
      'best_of',
      'unsupported_field',
    )
  const list = promptsOf(fields.prompt)
  if (list.length * n > MOST_TEXTS)
    throw badRequest(
      `prompt: at most ${MOST_TEXTS} texts are answered at once, got ${list.length * n}`,
      'prompt',
    )
  const prompts = await readPrompts(list, served)
  for (const prompt of prompts)
    checkLength(prompt.ids.length, { context: generator.context, param: 'prompt', wanted })
  const promptTokens = prompts.reduce((sum, prompt) => sum + prompt.ids.length, 0)
  if (logprobs !== undefined) checkChances(n * (promptTokens + wanted * prompts.length), logprobs)
  const scores = echo && logprobs !== undefined
  const requests = prompts.flatMap((prompt) =>
    Array.from(
      { length: n },
      (_, index): GenerationRequest => ({
        ...samplingRequest(fields, defaults, index),
        prompt: prompt.ids,
        maxTokens: wanted,
        ...(logprobs === undefined ? {} : { logprobs }),
        ...(scores ? { promptLogprobs: true } : {}),
        // Harnesses leave out the last chance, that of the one new token: it has to be there, also where it ends the text.
        ...(scores && wanted === 1 ? { ignoreEnd: true } : {}),
      }),
    ),
  )
  const texts = () =>
    requests.map(
      (_, index) => new CompletionText(prompts[Math.floor(index / n)]!, { echo, logprobs, tokenizer }),
    )
  const streamed = texts()
  return {
    requests,
    promptTokens,
    object: { whole: 'text_completion', chunk: 'text_completion' },
    id: 'cmpl-',
    collect: () => collected(texts()),
    chunks: (event) =>
      streamed[event.index]!.pieces(event).map((piece) => ({ index: event.index, ...piece })),
  }
}

const promptsOf = (prompt: PromptField): readonly (string | number[])[] =>
  typeof prompt === 'string' || isNumbers(prompt) ? [prompt] : prompt

async function readPrompts(
  list: readonly (string | number[])[],
  { tokenizer, generator: { context }, vocabulary }: ServedGenerator,
): Promise<Prompt[]> {
  const prompts: Prompt[] = []
  let characters = 0
  for (const one of list) {
    if (typeof one === 'string') {
      characters += one.length
      if (characters > PART) {
        characters = 0
        await setImmediate()
      }
      const options = { tokenizer, context, param: 'prompt', addSpecialTokens: true }
      prompts.push({ ids: await encodePrompt(one, options), text: one, bare: true })
      continue
    }
    const wrong = one.find((id) => id >= vocabulary)
    if (wrong !== undefined)
      throw badRequest(`prompt: token ids are below ${vocabulary}, got ${wrong}`, 'prompt', 'invalid_value')
    checkLength(one.length, { context, param: 'prompt' })
    const ids = Uint32Array.from(one)
    prompts.push({ ids, text: tokenizer.decode(ids), bare: false })
  }
  return prompts
}

const isNumbers = (prompt: Exclude<PromptField, string>): prompt is number[] => typeof prompt[0] === 'number'

interface Piece {
  text: string
  logprobs: CompletionLogprobs | null
  finish_reason: 'stop' | 'length' | null
}

/** One text, piece by piece: with `echo` its prompt comes first. */
class CompletionText {
  readonly #prompt: Prompt
  readonly #echo: boolean
  readonly #tokens: CompletionTokens | undefined

  constructor(
    prompt: Prompt,
    {
      echo,
      logprobs,
      tokenizer,
    }: { echo: boolean; logprobs: number | undefined; tokenizer: ServedGenerator['tokenizer'] },
  ) {
    this.#prompt = prompt
    this.#echo = echo
    this.#tokens = logprobs === undefined ? undefined : new CompletionTokens(tokenizer, prompt.bare)
  }

  pieces({ event }: TextEvent): Piece[] {
    if (event.kind === 'prompt') {
      if (!this.#echo) return []
      const { text } = this.#prompt
      return [{ text, logprobs: this.#promptLogprobs(event.chances), finish_reason: null }]
    }
    if (event.kind === 'end') return [{ text: event.text, logprobs: null, finish_reason: event.reason }]
    const logprobs = this.#tokens?.add([event]) ?? null
    return event.text === '' && logprobs === null ? [] : [{ text: event.text, logprobs, finish_reason: null }]
  }

  #promptLogprobs(chances: readonly TokenChances[] | undefined): CompletionLogprobs | null {
    const tokens = Array.from(this.#prompt.ids, (id, i) => ({
      id,
      chances: i === 0 ? undefined : chances?.[i - 1],
    }))
    return this.#tokens?.add(tokens) ?? null
  }
}

/** Texts as a whole. */
function collected(texts: CompletionText[]): ReturnType<Answer['collect']> {
  const pieces: Piece[][] = texts.map(() => [])
  return {
    add: (event) => pieces[event.index]!.push(...texts[event.index]!.pieces(event)),
    choices: () =>
      pieces.map((parts, index) => {
        const logprobs = parts.flatMap((part) => (part.logprobs ? [part.logprobs] : []))
        return {
          index,
          text: parts.map(({ text }) => text).join(''),
          logprobs: logprobs.length === 0 ? null : joinLogprobs(logprobs),
          finish_reason: parts.at(-1)?.finish_reason ?? 'length',
        }
      }),
  }
}
