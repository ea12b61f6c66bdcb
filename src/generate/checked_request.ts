/** A request with every option filled in, before anything is computed for it. */
import { OptionError } from '../tensor/errors.ts'
import type { GenerationRequest } from './generation.ts'
import { checkedSampling, type Sampling } from './sampling_options.ts'
import { stopSearch } from './stop_texts.ts'

export interface CheckedRequest {
  prompt: Uint32Array
  /** New tokens at most, cut to what the context has room for. */
  maxTokens: number
  stop: readonly string[]
  ignoreEnd: boolean
  /** Likely tokens beside each new one, or nothing where chances are not asked for. */
  logprobs: number | undefined
  promptLogprobs: boolean
  sampling: Sampling
}

/**
 * @param limits the context in tokens, and the ids that the model knows
 * @throws OptionError where an option is out of its range or the prompt leaves no room; `facts.option` names the option.
 */
export function checkedRequest(
  request: GenerationRequest,
  { context, vocabulary }: { context: number; vocabulary: number },
): CheckedRequest {
  const { prompt, maxTokens, stop = [], ignoreEnd = false, logprobs, promptLogprobs = false } = request
  if (!(prompt instanceof Uint32Array) || prompt.length === 0)
    throw wrong('prompt', 'PARE_E_PROMPT', 'prompt: needs at least one token id in a Uint32Array, got none')
  const unknown = prompt.find((id) => id >= vocabulary)
  if (unknown !== undefined)
    throw wrong(
      'prompt',
      'PARE_E_TOKEN_ID',
      `prompt: needs ids below ${vocabulary}, got ${unknown}; take the tokenizer of this model`,
    )
  if (maxTokens !== undefined && !(Number.isSafeInteger(maxTokens) && maxTokens >= 0))
    throw wrong(
      'maxTokens',
      'PARE_E_MAX_TOKENS',
      `maxTokens: needs a whole number from 0 on, got ${maxTokens}`,
    )
  const room = context - prompt.length
  if (room < (maxTokens === 0 ? 0 : 1))
    throw wrong(
      'prompt',
      'PARE_E_CONTEXT',
      `prompt: ${prompt.length} tokens leave no room in a context of ${context}; shorten it`,
    )
  if (logprobs !== undefined && !(Number.isInteger(logprobs) && logprobs >= 0 && logprobs <= 20))
    throw wrong('logprobs', 'PARE_E_LOGPROBS', `logprobs: needs a whole number from 0 to 20, got ${logprobs}`)
  if (!Array.isArray(stop))
    throw wrong('stop', 'PARE_E_STOP', 'stop: needs an array of texts; put it into one')
  stopSearch(stop)
  return {
    prompt: prompt.slice(),
    maxTokens: Math.min(maxTokens ?? room, room),
    stop: [...stop],
    ignoreEnd,
    logprobs,
    promptLogprobs,
    sampling: checkedSampling(request, vocabulary),
  }
}

const wrong = (option: keyof GenerationRequest, code: string, message: string): OptionError =>
  new OptionError(message, { code, facts: { option } })
