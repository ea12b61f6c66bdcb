/** One text that is written: which ids run next, and what follows from the logits that they give. */
import type { TextStream } from '../formats/tokenizer/text_stream.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { type RandomStream, randomStream } from '../tensor/index.ts'
import type { CheckedRequest } from './checked_request.ts'
import type { EventQueue } from './event_queue.ts'
import type { GenerationEvent, TokenChances } from './generation.ts'
import { sampleToken } from './sampling.ts'
import { type StopSearch, stopSearch } from './stop_texts.ts'
import { chancesOf } from './token_chances.ts'

/** Tokens of the prompt that are decoded before the text: a character has 4 bytes, other decoders look at one neighbour. */
const shownBefore = 4

/**
 * The state of one text. A step runs the ids of `next`, hands over the logits behind each of the positions `wanted`, and
 * ends with `advance`.
 */
export class Sequence {
  readonly events: EventQueue<GenerationEvent>
  /** Ids that ran. */
  position = 0
  private readonly request: CheckedRequest
  private readonly ends: ReadonlySet<number>
  private readonly text: TextStream
  private readonly stops: StopSearch
  private readonly stream: RandomStream
  private readonly history: { read: ReadonlySet<number>; written: Map<number, number> }
  private readonly promptChances: TokenChances[] = []
  /** New tokens, and the last of them. */
  private tokens = 0
  private newest = 0

  constructor(request: CheckedRequest, tokenizer: Tokenizer, events: EventQueue<GenerationEvent>) {
    const { prompt, stop, ignoreEnd, sampling } = request
    this.request = request
    this.events = events
    this.ends = new Set(ignoreEnd ? [] : tokenizer.eosIds)
    this.text = textBehind(prompt, tokenizer)
    this.stops = stopSearch(stop)
    this.stream = randomStream(sampling.seed, 'generate')
    this.history = { read: new Set(prompt), written: new Map() }
  }

  /** Ids that run before the text ends, at most: the last token never does. */
  get mostIds(): number {
    const { prompt, maxTokens } = this.request
    return prompt.length + Math.max(0, maxTokens - 1)
  }

  /** Whether parts of the prompt wait to be read. */
  get reading(): boolean {
    return this.position < this.request.prompt.length
  }

  /** The ids that run next: the last token, or a piece of the prompt, of a length that nothing else decides. */
  next(pieceTokens: number): Uint32Array {
    if (!this.reading) return Uint32Array.of(this.newest)
    return this.request.prompt.subarray(this.position, this.position + pieceTokens)
  }

  /** Positions among the next `count` ids behind which logits are needed. */
  wanted(count: number): number[] {
    const { prompt, promptLogprobs } = this.request
    const all = Array.from({ length: count }, (_, i) => this.position + i)
    return promptLogprobs ? all : all.filter((position) => position >= prompt.length - 1)
  }

  /** The logits [vocabulary] behind a position that is wanted, in their order. */
  take(position: number, logits: Float32Array): void {
    const { prompt, maxTokens, logprobs, promptLogprobs, sampling } = this.request
    const following = prompt[position + 1]
    if (following !== undefined) {
      this.promptChances.push(chancesOf(logits, following, logprobs ?? 0))
      return
    }
    if (position === prompt.length - 1) {
      const chances = promptLogprobs ? { chances: this.promptChances } : {}
      this.events.push({ kind: 'prompt', tokens: prompt.length, ...chances })
    }
    if (maxTokens === 0) this.end('length')
    else this.write(sampleToken(logits, sampling, this.history, this.stream), logits)
  }

  advance(count: number): void {
    this.position += count
  }

  private write(id: number, logits: Float32Array): void {
    const { maxTokens, logprobs } = this.request
    if (this.ends.has(id)) {
      this.end('stop')
      return
    }
    this.tokens++
    this.newest = id
    const { written } = this.history
    written.set(id, (written.get(id) ?? 0) + 1)
    const { text, stop } = this.stops.push(this.text.push(id))
    const chances = logprobs === undefined ? {} : { chances: chancesOf(logits, id, logprobs) }
    this.events.push({ kind: 'token', id, text, ...chances })
    if (stop !== undefined) this.ended('', 'stop', stop)
    else if (this.tokens >= maxTokens) this.end('length')
  }

  /** An incomplete character becomes U+FFFD, and may still complete a stop text. */
  private end(reason: 'stop' | 'length'): void {
    const { text, stop } = this.stops.push(this.text.end())
    if (stop === undefined) this.ended(text + this.stops.end(), reason)
    else this.ended(text, 'stop', stop)
  }

  private ended(text: string, reason: 'stop' | 'length', stopText?: string): void {
    const found = stopText === undefined ? {} : { stopText }
    this.events.push({ kind: 'end', text, reason, tokens: this.tokens, ...found })
    this.events.end()
  }
}

/** The text of ids that follow a prompt, with the blank that a tokenizer drops at the beginning of a text only. */
function textBehind(prompt: Uint32Array, tokenizer: Tokenizer): TextStream {
  const stream = tokenizer.stream({ skipSpecialTokens: true })
  const shown: number[] = []
  for (let at = prompt.length - 1; at >= 0 && shown.length < shownBefore; at--) {
    if (!tokenizer.isSpecial(prompt[at]!)) shown.unshift(prompt[at]!)
  }
  for (const id of shown) stream.push(id)
  return stream
}
