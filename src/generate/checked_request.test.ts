import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { checkedRequest } from './checked_request.ts'
import type { GenerationRequest } from './generation.ts'

const limits = { context: 10, vocabulary: 50 }
const prompt = Uint32Array.of(1, 2, 3)
/** The option that is wrong, or what it becomes. */
function wrong(request: Partial<GenerationRequest>): unknown {
  try {
    return checkedRequest({ prompt, ...request }, limits)
  } catch (error) {
    expect(error).toBeInstanceOf(OptionError)
    return (error as OptionError).facts.option
  }
}

test('what is left out has its default, and new tokens are cut to the room of the context', () => {
  expect(checkedRequest({ prompt }, limits)).toMatchObject({
    ...{ maxTokens: 7, stop: [], ignoreEnd: false, promptLogprobs: false },
  })
  expect(checkedRequest({ prompt, maxTokens: 100 }, limits).maxTokens).toBe(7)
  expect(checkedRequest({ prompt, maxTokens: 0 }, limits).maxTokens).toBe(0)
})
test.each<[string, Partial<GenerationRequest>]>([
  ['prompt', { prompt: new Uint32Array() }],
  ['prompt', { prompt: Uint32Array.of(50) }],
  ['prompt', { prompt: new Uint32Array(11) }],
  ['maxTokens', { maxTokens: -1 }],
  ['maxTokens', { maxTokens: 0.5 }],
  ['logprobs', { logprobs: 21 }],
  ['stop', { stop: [''] }],
  ['temperature', { temperature: -1 }],
  ['topP', { topP: 0 }],
  ['minP', { minP: 1.1 }],
  ['repetitionPenalty', { repetitionPenalty: 0.009 }],
])('%s is refused by name: %j', (option, request) => {
  expect(wrong(request)).toBe(option)
})
