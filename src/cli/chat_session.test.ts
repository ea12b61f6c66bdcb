import { expect, test } from 'vitest'
import type { ChatTemplate } from '../formats/tokenizer/chat_template.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import type { GenerationRequest } from '../generate/generation.ts'
import { scriptedGenerator } from '../generate/scripted_generator.suite.ts'
import { ChatSession } from './chat_session.ts'

/** A character is a token. */
const tokenizer = {
  encode: (text: string) => Uint32Array.from(text, (c) => c.codePointAt(0)!),
} as unknown as Tokenizer
const template = {
  source: '',
  render: (messages, { addGenerationPrompt } = {}) =>
    `${messages.map(({ role, content }) => `${role[0]}:${content};`).join('')}${addGenerationPrompt ? 'a:' : ''}`,
} satisfies ChatTemplate

/** A model that says these texts one after the other, and what it was asked. */
function model(answers: readonly string[], { context = 200, pace = 0 } = {}) {
  const prompts: string[] = []
  const requests: GenerationRequest[] = []
  const generator = scriptedGenerator({
    ...{ context, pace },
    write(request) {
      requests.push(request)
      prompts.push(String.fromCodePoint(...request.prompt))
      return tokenizer.encode(answers[prompts.length - 1]!)
    },
    stream: () => ({ push: (id) => String.fromCodePoint(id), end: () => '' }),
  })
  return { generator, tokenizer, template, prompts, requests }
}
async function said(session: ChatSession, text: string, signal?: AbortSignal): Promise<string> {
  let all = ''
  for await (const piece of session.answer(text, signal)) all += piece
  return all
}

test('turns follow each other behind the system message, and options reach the generator', async () => {
  const own = model(['yes', 'no'])
  const session = new ChatSession(own, { system: 'S', temperature: 0.5, maxTokens: 9 })
  expect([await said(session, 'one'), await said(session, 'two')]).toEqual(['yes', 'no'])
  expect(own.prompts).toEqual(['s:S;u:one;a:', 's:S;u:one;a:yes;u:two;a:'])
  expect(own.requests[0]).toMatchObject({ temperature: 0.5, maxTokens: 9 })
  expect(session.cost).toMatchObject({ promptTokens: 24, tokens: 2, reason: 'stop' })
})
test('clear forgets the turns, begin the system message too', async () => {
  const own = model(['a', 'b', 'c'])
  const session = new ChatSession(own, { system: 'S' })
  await said(session, '1')
  session.clear()
  await said(session, '2')
  session.begin(undefined)
  await said(session, '3')
  expect(own.prompts).toEqual(['s:S;u:1;a:', 's:S;u:2;a:', 'u:3;a:'])
})
test('without a template texts are continued as they are', async () => {
  const own = model(['in', '!'])
  const session = new ChatSession({ ...own, template: undefined })
  await said(session, 'beg')
  await said(session, ' and')
  expect(own.prompts).toEqual(['beg', 'begin and'])
})
test('escape codes and other control characters of the model are shown, and never sent to the terminal', async () => {
  const session = new ChatSession(model(['\u001b[2J\u0007a\u009bb\u202ec\n\td']))
  expect(await said(session, 'x')).toBe('\\u{1b}[2J\\u{7}a\\u{9b}b\\u{202e}c\n\td')
})
test('a turn that is stopped stays as far as it came', async () => {
  const own = model(['a long answer', 'z'], { pace: 2 })
  const session = new ChatSession(own)
  const stopped = new AbortController()
  let all = ''
  for await (const piece of session.answer('1', stopped.signal)) {
    all += piece
    if (all.length === 4) stopped.abort()
  }
  expect(session.cost!.reason).toBe('interrupted')
  await said(session, '2')
  expect(own.prompts[1]).toBe(`u:1;a:${all};u:2;a:`)
})
test('a chat that the context has no room for is refused by name, and stays as it was', async () => {
  const own = model(['a', 'b'], { context: 30 })
  const session = new ChatSession(own)
  await said(session, '1')
  await expect(said(session, 'x'.repeat(40))).rejects.toThrow(/30 tokens at most, the chat has 53 .*\/clear/)
  expect(session.length).toBe(2)
  await said(session, '2')
  expect(own.prompts).toHaveLength(2)
})
