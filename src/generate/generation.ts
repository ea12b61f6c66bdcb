/**
 * What is asked of a generator and what it tells while it writes. Everything here is plain data, so that it can go to
 * another thread and back.
 */

/** How a token is drawn from the logits; transforms follow each other in this order. */
export interface SamplingOptions {
  /** Logits of tokens that were read or written are divided by it where above 0, else multiplied; from 0.01 on. Keskar et al. 2019, arXiv:1909.05858, section 4.1. @default 1 */
  repetitionPenalty?: number
  /** Taken from the logits of tokens that were written, once each, -2 to 2. @default 0 */
  presencePenalty?: number
  /** Taken from the logits of tokens that were written, once for each time, -2 to 2. @default 0 */
  frequencyPenalty?: number
  /** Added to the logits of single ids; -100 forbids one. @default none */
  logitBias?: ReadonlyMap<number, number>
  /** Divides the logits, 0 to 100; 0 takes the most likely token, of equal ones the lowest id. @default 1 */
  temperature?: number
  /** Only so many of the most likely tokens; 0 for all. @default 0 */
  topK?: number
  /** Only the most likely tokens that together have this share, above 0 to 1. Holtzman et al. 2019, arXiv:1904.09751. @default 1 */
  topP?: number
  /** Only tokens with at least this share of the chance of the most likely one, 0 to 1. Nguyen et al. 2024, arXiv:2407.01082. @default 0 */
  minP?: number
  /** Same seed, same tokens, whatever else is written at the same time. @default one of chance */
  seed?: number
}

export interface GenerationRequest extends SamplingOptions {
  /** At least one id. */
  prompt: Uint32Array
  /** New tokens at most. 0 reads the prompt alone. @default as many as the context has room for */
  maxTokens?: number
  /** Texts that end it; none of them is shown, also where it runs over several tokens. @default none */
  stop?: readonly string[]
  /** Goes on behind the ids that end a text. @default false */
  ignoreEnd?: boolean
  /** Chances of every new token and of so many most likely ones beside it, 0 to 20; before any transform. @default none */
  logprobs?: number
  /** The same for the tokens of the prompt. @default false */
  promptLogprobs?: boolean
}

/** Natural logarithms of chances. */
export interface TokenChance {
  id: number
  logprob: number
}

export interface TokenChances extends TokenChance {
  /** The most likely first; of equal ones the lowest id. */
  top: readonly TokenChance[]
}

export type GenerationEvent =
  /** The prompt was read. Chances are those of its tokens but the first. */
  | { kind: 'prompt'; tokens: number; chances?: readonly TokenChances[] }
  /** `text` is what is certain by now: whole characters, and nothing that may begin a stop text. */
  | { kind: 'token'; id: number; text: string; chances?: TokenChances }
  /** `text` is the rest. `stop`: a text or an id that ends, `length`: no more tokens were asked for or fit. */
  | { kind: 'end'; text: string; reason: 'stop' | 'length'; tokens: number; stopText?: string }

export interface GeneratorLoad {
  /** Requests that are read or written now, or wait for their readers. */
  running: number
  /** Requests that wait for a place. */
  waiting: number
}

/** A model that continues texts, several at once. */
export interface TextGenerator {
  /** Tokens of prompt and text together, at most. */
  readonly context: number
  /**
   * Events of one text. Leaving the loop, or `signal`, frees its place within one step.
   *
   * @throws OptionError where options are impossible or the prompt leaves no room; AbortError when `signal` stops it.
   */
  generate(request: GenerationRequest, options?: { signal?: AbortSignal }): AsyncIterable<GenerationEvent>
  load(): GeneratorLoad
  /** Ends all texts with AbortError and frees the model. */
  close(): Promise<void>
}
