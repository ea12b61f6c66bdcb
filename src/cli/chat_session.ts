/** A chat with a model: turns so far, the next one as it is written, and what it cost. */
import type { ChatMessage, ChatTemplate } from '../formats/tokenizer/chat_template.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import type { GenerationRequest, TextGenerator } from '../generate/generation.ts'
import { promptIds } from '../generate/prompt_ids.ts'
import { visible } from '../run/visible_text.ts'
import { OptionError } from '../tensor/errors.ts'

export interface ChatModel {
  generator: TextGenerator
  tokenizer: Tokenizer
  /** Turns messages into the text that the model was trained on. @default none: texts are continued as they are */
  template?: ChatTemplate | undefined
}

export interface ChatOptions extends Omit<GenerationRequest, 'prompt'> {
  /** First message of every chat. @default none */
  system?: string | undefined
}

/** Of one turn of the model. */
export interface TurnCost {
  /** That were read; 0 where the turn was stopped before. */
  promptTokens: number
  tokens: number
  /** Until the prompt was read, and from there to the end. */
  promptSeconds: number
  seconds: number
  reason: 'stop' | 'length' | 'interrupted'
}

export class ChatSession {
  private readonly model: ChatModel
  private readonly options: Omit<GenerationRequest, 'prompt'>
  private system: string | undefined
  private turns: ChatMessage[] = []
  /** Of the last turn. */
  cost: TurnCost | undefined

  constructor(model: ChatModel, { system, ...options }: ChatOptions = {}) {
    this.model = model
    this.system = system
    this.options = options
  }

  /** Turns of both sides. */
  get length(): number {
    return this.turns.length
  }

  /** Forgets all turns. */
  clear(): void {
    this.turns = []
  }

  /** A new chat with this first message, or none. */
  begin(system: string | undefined): void {
    this.clear()
    this.system = system
  }

  /**
   * What the model says to a text, piece by piece: whole characters, control characters shown by their number. A turn that
   * `signal` stops, or whose reader leaves, stays in the chat as far as it came.
   *
   * @throws OptionError (PARE_E_CONTEXT) where the chat has no room left, AbortError where `signal` stops it before that is
   *   known; the chat is as before then
   */
  async *answer(text: string, signal?: AbortSignal): AsyncGenerator<string, void, void> {
    const asked = [...this.turns, { role: 'user', content: text }]
    this.cost = undefined
    const prompt = await this.prompt(asked, signal)
    const started = performance.now()
    const cost: TurnCost = {
      ...{ promptTokens: 0, tokens: 0, promptSeconds: 0, seconds: 0 },
      reason: 'interrupted',
    }
    let said = ''
    const end = () => {
      const all = (performance.now() - started) / 1000
      if (cost.promptTokens === 0) cost.promptSeconds = all
      cost.seconds = all - cost.promptSeconds
      this.cost = cost
      this.turns = [...asked, { role: 'assistant', content: said }]
    }
    try {
      for await (const event of this.model.generator.generate(
        { ...this.options, prompt },
        signal ? { signal } : {},
      )) {
        if (event.kind === 'prompt') {
          cost.promptTokens = event.tokens
          cost.promptSeconds = (performance.now() - started) / 1000
          continue
        }
        said += event.text
        if (event.kind === 'token') cost.tokens++
        else cost.reason = event.reason
        if (event.text !== '') yield visible(event.text)
      }
    } catch (error) {
      if (!signal?.aborted) {
        if (said !== '') end()
        throw error
      }
    }
    end()
  }

  private async prompt(messages: readonly ChatMessage[], signal?: AbortSignal): Promise<Uint32Array> {
    const { template, tokenizer, generator } = this.model
    const { context } = generator
    const text = template
      ? template.render(this.withSystem(messages), { addGenerationPrompt: true })
      : (this.system ?? '') + messages.map(({ content }) => content).join('')
    const options = { tokenizer, context, addSpecialTokens: template === undefined, signal }
    const { ids, more } = await promptIds(text, options)
    if (ids.length < context) return ids
    throw new OptionError(
      `chat: the model reads and writes ${context} tokens at most, the chat has ${more ? 'more than ' : ''}${ids.length} with this text; /clear begins a new one`,
      { code: 'PARE_E_CONTEXT', facts: { tokens: ids.length, context } },
    )
  }

  private withSystem(messages: readonly ChatMessage[]): ChatMessage[] {
    return [...(this.system === undefined ? [] : [{ role: 'system', content: this.system }]), ...messages]
  }
}
