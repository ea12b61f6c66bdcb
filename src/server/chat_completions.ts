/** POST /v1/chat/completions: the model's next turn in a chat, as a whole or as it is written. */
import { z } from 'zod'
import type { ChatMessage } from '../formats/tokenizer/chat_template.ts'
import type { GenerationRequest } from '../generate/generation.ts'
import type { Answer } from './answer.ts'
import { badRequest } from './api_error.ts'
import { checkLength, encodePrompt } from './prompt_tokens.ts'
import { flag, maxTokens, samplingFields, samplingRequest, textField, whole } from './sampling_fields.ts'
import type { ServedGenerator } from './served_model.ts'
import type { TextEvent } from './text_run.ts'
import { chatLogprob, checkChances } from './token_logprobs.ts'

const textPart = z.strictObject({
  type: z.literal('text', 'text is the only kind of content that is served'),
  text: textField,
})
const content = z.union([z.string(), z.array(textPart).min(1, 'one part at least is needed')], {
  error: 'a text or a list of texts is needed',
})
const message = z.strictObject({
  role: z.enum(
    ['system', 'developer', 'user', 'assistant'],
    'system, developer, user or assistant is needed',
  ),
  content,
  name: z.string().optional(),
  refusal: z.null().optional(),
  annotations: z.array(z.never()).optional(),
})

export const chatSchema = z.strictObject({
  ...samplingFields,
  messages: z.array(message, 'a list of messages is needed').min(1, 'one message at least is needed'),
  max_tokens: maxTokens(1).optional(),
  max_completion_tokens: maxTokens(1).optional(),
  logprobs: flag.optional(),
  top_logprobs: whole(0, 20).optional(),
})
export type ChatFields = z.output<typeof chatSchema>

/** @throws ApiError 400 for a chat that the model cannot read. */
export async function chatAnswer(
  fields: ChatFields,
  { tokenizer, template, generator, defaults }: ServedGenerator,
): Promise<Answer> {
  if (!template)
    throw badRequest(
      'messages: the model has no chat template; ask /v1/completions, or start the server with --chat-template',
      'messages',
      'no_chat_template',
    )
  const { context } = generator
  const wanted = newTokens(fields)
  if (fields.top_logprobs !== undefined && fields.logprobs !== true)
    throw badRequest('top_logprobs: needs logprobs to be true', 'top_logprobs', 'invalid_value')
  const text = template.render(fields.messages.map(templateMessage), { addGenerationPrompt: true })
  const param = 'messages'
  const prompt = await encodePrompt(text, { tokenizer, context, param, addSpecialTokens: false })
  checkLength(prompt.length, { context, param, wanted: wanted ?? 1 })
  const { n = 1, top_logprobs = 0 } = fields
  if (fields.logprobs) checkChances(n * (wanted ?? context - prompt.length), top_logprobs)
  const requests = Array.from(
    { length: n },
    (_, index): GenerationRequest => ({
      ...samplingRequest(fields, defaults, index),
      prompt,
      ...(wanted === undefined ? {} : { maxTokens: wanted }),
      ...(fields.logprobs ? { logprobs: top_logprobs } : {}),
    }),
  )
  const logprobs = fields.logprobs === true
  return {
    requests,
    promptTokens: prompt.length,
    object: { whole: 'chat.completion', chunk: 'chat.completion.chunk' },
    id: 'chatcmpl-',
    collect: () => new ChatTurns(requests.length, logprobs, tokenizer),
    chunks: (event) => chatChunks(event, logprobs, tokenizer),
  }
}

function newTokens({ max_tokens, max_completion_tokens }: ChatFields): number | undefined {
  if (max_tokens !== undefined && max_completion_tokens !== undefined)
    throw badRequest('max_tokens: is the old name of max_completion_tokens; give one of them', 'max_tokens')
  return max_completion_tokens ?? max_tokens
}

/** What templates know: one text a message, and `system` for what is now called `developer`. */
const templateMessage = ({ role, content, name }: ChatFields['messages'][number]): ChatMessage => ({
  role: role === 'developer' ? 'system' : role,
  content: typeof content === 'string' ? content : content.map(({ text }) => text).join('\n'),
  ...(name === undefined ? {} : { name }),
})

type Logprob = ReturnType<typeof chatLogprob>

/** Turns as a whole. */
class ChatTurns implements ReturnType<Answer['collect']> {
  readonly #turns: { text: string; logprobs: Logprob[]; reason: string }[]
  readonly #logprobs: boolean
  readonly #tokenizer: ServedGenerator['tokenizer']

  constructor(count: number, logprobs: boolean, tokenizer: ServedGenerator['tokenizer']) {
    this.#turns = Array.from({ length: count }, () => ({ text: '', logprobs: [], reason: 'length' }))
    this.#logprobs = logprobs
    this.#tokenizer = tokenizer
  }

  add({ index, event }: TextEvent): void {
    const turn = this.#turns[index]!
    if (event.kind === 'prompt') return
    turn.text += event.text
    if (event.kind === 'end') turn.reason = event.reason
    else if (this.#logprobs && event.chances) turn.logprobs.push(chatLogprob(event.chances, this.#tokenizer))
  }

  choices(): object[] {
    return this.#turns.map(({ text, logprobs, reason }, index) => ({
      index,
      message: { role: 'assistant', content: text, refusal: null },
      logprobs: this.#logprobs ? { content: logprobs, refusal: null } : null,
      finish_reason: reason,
    }))
  }
}

/** What one event adds to a stream: none, one or two choices, each in a chunk of its own. */
function chatChunks(
  { index, event }: TextEvent,
  logprobs: boolean,
  tokenizer: ServedGenerator['tokenizer'],
): object[] {
  const chunk = (delta: object, reason: string | null = null, content?: Logprob[]) => ({
    index,
    delta,
    logprobs: content ? { content, refusal: null } : null,
    finish_reason: reason,
  })
  if (event.kind === 'prompt') return [chunk({ role: 'assistant', content: '', refusal: null })]
  if (event.kind === 'end')
    return [...(event.text === '' ? [] : [chunk({ content: event.text })]), chunk({}, event.reason)]
  if (logprobs && event.chances)
    return [chunk({ content: event.text }, null, [chatLogprob(event.chances, tokenizer)])]
  return event.text === '' ? [] : [chunk({ content: event.text })]
}
