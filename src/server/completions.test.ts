import { describe, expect, test, vi } from 'vitest'
import { scriptedChances } from '../generate/scripted_generator.suite.ts'
import { ask, idsOf, objectsOf, serveScript, tokenizer, writes } from './served.suite.ts'

/** Counts the characters that the tokenizer is given. */
function countedReading(): { readonly read: number; end: () => void } {
  const whole = tokenizer.encodeStream
  let read = 0
  const spy = vi.spyOn(tokenizer, 'encodeStream').mockImplementation((options) => {
    const stream = whole(options)
    return {
      push(text) {
        read += text.length
        return stream.push(text)
      },
      end: stream.end,
    }
  })
  return {
    get read() {
      return read
    },
    end: () => spy.mockRestore(),
  }
}

const path = '/v1/completions'
const base = { model: 'scripted' }

describe('a completion', () => {
  test('is the text that follows, 16 tokens where nothing is said', async () => {
    const { app } = serveScript()
    const { body } = await ask(app, path, { ...base, prompt: ' whale' })
    expect(body).toMatchObject({
      id: expect.stringMatching(/^cmpl-/),
      object: 'text_completion',
      model: 'scripted',
      choices: [{ index: 0, logprobs: null, finish_reason: 'length' }],
      usage: { prompt_tokens: idsOf(' whale').length, completion_tokens: 16 },
    })
    const ids = Array.from({ length: 16 }, (_, i) => idsOf(' whale')[i % idsOf(' whale').length]!)
    expect(body.choices[0].text).toBe(tokenizer.decode(ids))
  })
  test('takes a text, ids, and lists of both, and answers in their order', async () => {
    const { app } = serveScript()
    const [a, b] = [' a', ' long whale']
    const text = async (prompt: unknown) => {
      const { body } = await ask(app, path, { ...base, prompt, max_tokens: 6 })
      return body.choices.map((choice: { text: string }) => choice.text)
    }
    const [one] = await text(a)
    const [other] = await text(b)
    expect(one).not.toBe(other)
    expect(await text(idsOf(a))).toEqual([one])
    expect(await text([a, b])).toEqual([one, other])
    expect(await text([idsOf(b), idsOf(a), idsOf(b)])).toEqual([other, one, other])
  })
  test('writes no more texts at once than there are places, and answers all', async () => {
    let most = 0
    const served = serveScript({ slots: 2, maxQueue: 0, write: writes(' x y z') })
    const { generator, app } = served
    const watch = setInterval(() => {
      const { running, waiting } = generator.load()
      most = Math.max(most, running + waiting)
    }, 0)
    const { body } = await ask(app, path, { ...base, prompt: Array(9).fill(' a'), n: 2 })
    clearInterval(watch)
    expect(body.choices).toHaveLength(18)
    expect(body.usage.prompt_tokens).toBe(9 * idsOf(' a').length)
    expect(most).toBe(2)
    expect(served.app.admission.held).toBe(0)
  })
  test('writes one text after the other where one place is free, and answers all', async () => {
    const served = serveScript({ slots: 4, maxQueue: 0, write: writes(' x y z') })
    const held = served.app.admission.enter(3)
    const { body } = await ask(served.app, path, { ...base, prompt: Array(9).fill(' a') })
    expect(body.choices).toHaveLength(9)
    expect(served.app.admission.held).toBe(3)
    held.leave()
  })
  test('of many texts at once gives no warning of listeners', async () => {
    const warnings: Error[] = []
    const hear = (warning: Error) => warnings.push(warning)
    process.on('warning', hear)
    const { app } = serveScript({ slots: 40, write: writes(' x') })
    const { body } = await ask(app, path, { ...base, prompt: ' a', n: 40 })
    await new Promise(setImmediate)
    process.off('warning', hear)
    expect(body.choices).toHaveLength(40)
    expect(warnings.filter(({ name }) => name === 'MaxListenersExceededWarning')).toEqual([])
  })
  test('of an empty prompt follows the token that begins texts', async () => {
    const seen: number[][] = []
    const { app } = serveScript({
      write: ({ prompt }) => {
        seen.push([...prompt])
        return []
      },
    })
    expect((await ask(app, path, { ...base, prompt: '' })).status).toBe(200)
    expect(seen).toEqual([[tokenizer.bosId]])
  })
  test('echoes the prompt, also in a stream', async () => {
    const { app } = serveScript({ write: writes(' fish.') })
    const asked = { ...base, prompt: 'A whale is a', echo: true }
    expect((await ask(app, path, asked)).body.choices[0].text).toBe('A whale is a fish.')
    const ids = { ...asked, prompt: idsOf('A whale is a') }
    expect((await ask(app, path, ids)).body.choices[0].text).toBe('A whale is a fish.')
    const chunks = objectsOf((await ask(app, path, { ...asked, stream: true })).body)
    expect(chunks.pop()).toBe('[DONE]')
    expect(chunks.map((chunk) => chunk.choices[0].text).join('')).toBe('A whale is a fish.')
    expect(chunks.at(-1).choices[0].finish_reason).toBe('stop')
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
  })
})

describe('chances of a completion', () => {
  test('stand beside each token, with the place where it begins', async () => {
    const { app } = serveScript({ write: writes(' é🐳 x') })
    const { body } = await ask(app, path, { ...base, prompt: 'a', logprobs: 2 })
    const { tokens, token_logprobs, top_logprobs, text_offset } = body.choices[0].logprobs
    const ids = idsOf(' é🐳 x')
    expect(token_logprobs).toEqual(ids.map((id) => -id / 1000))
    expect(tokens).toHaveLength(ids.length)
    // A place counts characters as Python does: the whale is one.
    const text = [...body.choices[0].text]
    expect(text.slice(text_offset.at(-1)).join('')).toBe(tokens.at(-1))
    expect(text_offset).toEqual(text_offset.toSorted((a: number, b: number) => a - b))
    for (const [i, top] of top_logprobs.entries()) {
      expect(Object.keys(top)).toHaveLength(2)
      expect(top[tokens[i]]).toBe(token_logprobs[i])
    }
  })
  test('of parts of a character have their bytes as names', async () => {
    const { app } = serveScript({ write: writes('🐳') })
    const { body } = await ask(app, path, { ...base, prompt: 'a', logprobs: 0 })
    const { tokens } = body.choices[0].logprobs
    expect(tokens.length).toBeGreaterThan(1)
    for (const token of tokens) expect(token).toMatch(/^bytes:(\\x[0-9a-f]{2})+$/)
    expect(tokens.join('').replaceAll('bytes:', '')).toBe('\\xf0\\x9f\\x90\\xb3')
  })
  test('of the prompt come with echo, none for its first token', async () => {
    const { app } = serveScript({ write: writes(' fish') })
    const prompt = idsOf('A whale is a')
    const asked = { ...base, prompt, echo: true, logprobs: 1 }
    const { body } = await ask(app, path, asked)
    const all = [...prompt, ...idsOf(' fish')]
    const { tokens, token_logprobs, top_logprobs, text_offset } = body.choices[0].logprobs
    expect(tokens.join('')).toBe('A whale is a fish')
    expect(token_logprobs).toEqual([null, ...all.slice(1).map((id) => -id / 1000)])
    expect(top_logprobs[0]).toBeNull()
    expect([text_offset[0], text_offset.length]).toEqual([0, all.length])
    const chunks = objectsOf((await ask(app, path, { ...asked, stream: true })).body).slice(0, -1)
    expect(chunks.flatMap((chunk) => chunk.choices[0].logprobs?.token_logprobs ?? [])).toEqual(token_logprobs)
  })
  test('score answers as lm-eval asks for it: ids of prompt and answer, echo, and 0 or 1 new tokens', async () => {
    const { app } = serveScript({ write: writes('.') })
    const contexts = ['A whale is', 'The sea is']
    const answers = [' a fish', ' blue']
    const prompt = contexts.map((context, i) => idsOf(context + answers[i]))
    for (const max_tokens of [0, 1]) {
      const asked = { ...base, prompt, max_tokens, temperature: 0, logprobs: 1, seed: 1234, echo: true }
      const { body } = await ask(app, path, asked)
      for (const { index, logprobs, finish_reason } of body.choices) {
        const from = idsOf(contexts[index]!).length
        const to = prompt[index]!.length
        expect(logprobs.token_logprobs).toHaveLength(to + max_tokens)
        const scores: number[] = logprobs.token_logprobs.slice(from, to)
        expect(scores).toEqual(prompt[index]!.slice(from).map((id) => scriptedChances(id, 1).logprob))
        // It is greedy where no other token is more likely.
        for (const [i, top] of logprobs.top_logprobs.slice(from, to).entries())
          expect(Math.max(...(Object.values(top) as number[]))).toBe(scores[i])
        expect(finish_reason).toBe('length')
      }
      expect(body.usage.completion_tokens).toBe(2 * max_tokens)
    }
  })
  test('of the one new token of a score are there, also where it would end the text', async () => {
    const ends: (boolean | undefined)[] = []
    const { app } = serveScript({
      write: ({ ignoreEnd }) => {
        ends.push(ignoreEnd)
        return [5]
      },
    })
    const asked = { ...base, prompt: 'a', echo: true, logprobs: 1 }
    await ask(app, path, { ...asked, max_tokens: 1 })
    await ask(app, path, { ...asked, max_tokens: 2 })
    await ask(app, path, { ...asked, max_tokens: 1, echo: false })
    expect(ends).toEqual([true, undefined, undefined])
  })
  test('that no text fits are refused before one is written', async () => {
    const { app, generator } = serveScript({ context: 2048 })
    const prompt = Array(64).fill(Array(2000).fill(5))
    const { status, body } = await ask(app, path, {
      ...base,
      prompt,
      echo: true,
      logprobs: 20,
      max_tokens: 0,
    })
    expect(status).toBe(400)
    expect(body.error).toMatchObject({ param: 'logprobs', message: expect.stringContaining('2688000') })
    expect(generator.steps()).toBe(0)
  })
})

describe('a prompt that cannot be read is refused', () => {
  test.each([
    ['an id that the model has not', { prompt: [1, 2048] }, 'below 2048, got 2048'],
    ['no prompt', {}, 'prompt: is missing'],
    ['an empty list', { prompt: [] }, 'prompt: '],
    ['ids and texts in one list', { prompt: ['a', 1] }, 'prompt'],
    ['half an id', { prompt: [0.5] }, 'prompt[0]: a whole number from 0 to 4294967295 is needed, got 0.5'],
    ['an id below 0 in the second list', { prompt: [[1], [1, -1]] }, 'prompt[1][1]: a whole number'],
    ['an empty list in a list', { prompt: [[1], []] }, 'prompt[1]: one token at least'],
    ['lists and texts in one list', { prompt: [[1], 'a'] }, 'prompt[1]: a list of token ids'],
    [
      'an object',
      { prompt: { a: 1 } },
      'prompt: a text, token ids, or a list of either is needed, got {"a":1}',
    ],
    ['a list of objects', { prompt: [{}] }, 'prompt[0]: a whole number'],
    [
      'a million ids, of which the last is none',
      { prompt: [...Array(1e6).fill(1), -1] },
      'prompt[1000000]: ',
    ],
    ['a hundred thousand texts', { prompt: Array(1e5).fill('a') }, 'at most 1024 texts'],
    ['best_of above n', { prompt: 'a', best_of: 2 }, 'best_of'],
    ['a suffix', { prompt: 'a', suffix: 'b' }, 'suffix'],
    ['too many texts', { prompt: Array(600).fill('a'), n: 2 }, 'at most 1024 texts'],
  ])('%s', async (_, fields, message) => {
    const { app } = serveScript()
    const { status, body } = await ask(app, path, { ...base, ...fields })
    expect(status).toBe(400)
    expect(body.error.message).toContain(message)
    expect(body.error.param).toMatch(/^(prompt|best_of|suffix)/)
  })
  test('what is longer than the context with the tokens that are asked for, with both numbers', async () => {
    const { app } = serveScript()
    const long = await ask(app, path, { ...base, prompt: Array(257).fill(5), max_tokens: 0 })
    expect(long.body.error).toMatchObject({ code: 'context_length_exceeded', param: 'prompt' })
    const full = await ask(app, path, { ...base, prompt: Array(256).fill(5), max_tokens: 0, echo: true })
    expect(full.status).toBe(200)
    const more = await ask(app, path, { ...base, prompt: Array(250).fill(5), max_tokens: 7 })
    expect(more.body.error.message).toMatch(/256 tokens at most, this has 250 and 7 more/)
  })
  test.each([
    ['letters', 'a'],
    ['whales', '🐋'],
    ['blanks', ' '],
  ])('a megabyte of %s, which cannot be cut, after the first parts', async (_, character) => {
    const { app } = serveScript()
    const counted = countedReading()
    const { status, body } = await ask(app, path, { ...base, prompt: character.repeat(1e6) })
    counted.end()
    expect(status).toBe(400)
    expect(body.error).toMatchObject({ code: 'PARE_E_TEXT_PIECE', param: 'prompt' })
    expect(counted.read).toBeLessThan(2 ** 18)
  })
  test('ten megabytes of text, read no further than needed, while other requests are answered', async () => {
    const { app } = serveScript()
    const counted = countedReading()
    let answered = false
    const refused = ask(app, path, { ...base, prompt: 'whale '.repeat(1_600_000) }).then((answer) => {
      expect(answered).toBe(true)
      return answer
    })
    answered = (await ask(app, '/health')).status === 200
    expect((await refused).body.error).toMatchObject({ code: 'context_length_exceeded' })
    counted.end()
    expect(counted.read).toBeGreaterThan(0)
    expect(counted.read).toBeLessThan(2 ** 20)
  })
})
