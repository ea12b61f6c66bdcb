/** `pare serve` as a process: real models behind a socket, asked by OpenAI's own client. */
import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import OpenAI from 'openai'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { tokenLogits } from '../metrics/token_logits.ts'
import { encoderPath, expectedOf } from '../models/bert/fixtures.suite.ts'
import { distance } from '../models/llama/fixtures.suite.ts'
import { openLanguageModel } from '../models/load_model.ts'
import { jsonError, type Outcome, pare, root, startPare, temporaryFolder } from './pare_process.suite.ts'

const folder = temporaryFolder()
const model = join(root, 'experiments/models/pare-4m')
const template = join(folder, 'chat.jinja')
writeFileSync(
  template,
  '{% for m in messages %}{{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}{% endif %}',
)

interface Running {
  child: ChildProcess
  outcome: Promise<Outcome>
  facts: { url: string; port: number; model: string; context_length: number }
  client: OpenAI
}
const children: ChildProcess[] = []
afterAll(() => {
  for (const child of children) child.kill('SIGKILL')
})

/** Starts a server on a free port, and waits until it says where it is. */
async function start(
  source: string,
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<Running> {
  const { child, outcome } = startPare(['serve', source, '--port', '0', '--json', ...args], { env })
  children.push(child)
  let text = ''
  const facts = await new Promise<Running['facts']>((resolve, reject) => {
    child.stdout!.on('data', (data) => {
      text += data
      if (text.endsWith('}\n')) resolve(JSON.parse(text))
    })
    void outcome.then(({ stderr }) => reject(new Error(stderr)))
  })
  const client = new OpenAI({ baseURL: `${facts.url}/v1`, apiKey: env.PARE_API_KEY ?? 'none', maxRetries: 0 })
  return { child, outcome, facts, client }
}

/** ln p of every id of the text but the first, from logits of the whole text at once, in f64. */
async function logprobsOf(text: string): Promise<number[]> {
  const open = openLanguageModel(model)
  const ids = open.tokenizer().encode(text)
  const logits = await tokenLogits(open.model, ids)
  open.close()
  const { vocabulary } = open.model.config
  return Array.from(ids.subarray(1), (id, i) => {
    const row = Float64Array.from(logits.subarray(i * vocabulary, (i + 1) * vocabulary))
    const largest = Math.max(...row)
    return row[id]! - largest - Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0))
  })
}

describe('a language model', async () => {
  const { client, facts, child, outcome } = await start(model, [
    '--chat-template',
    template,
    '--parallel',
    '4',
    '--drain',
    '60',
  ])
  const base = { model: 'pare-4m' }

  test('tells its name, context and bits', async () => {
    expect(facts).toMatchObject({ model: 'pare-4m', context_length: 256 })
    const { data } = await client.models.list()
    expect(data).toEqual([
      expect.objectContaining({
        id: 'pare-4m',
        context_length: 256,
        quantization: { format: 'huggingface', bits_per_weight: 16 },
      }),
    ])
  })
  test('writes the same text for the same seed, alone and beside others, as a whole and as a stream', async () => {
    const asked = { ...base, prompt: 'The state of the Union is', max_tokens: 24, seed: 7 }
    const alone = (await client.completions.create(asked)).choices[0]!.text
    expect(alone.length).toBeGreaterThan(24)
    const others = [1, 2, 3, 4, 5].map((seed) => client.completions.create({ ...asked, seed }))
    let streamed = ''
    for await (const chunk of await client.completions.create({ ...asked, stream: true }))
      streamed += chunk.choices[0]!.text
    expect(streamed).toBe(alone)
    const texts = (await Promise.all(others)).map(({ choices }) => choices[0]!.text)
    expect(new Set([...texts, alone]).size).toBe(6)
  })
  test('chats by the template that was given, and ends before a stop text', async () => {
    const messages = [{ role: 'user' as const, content: 'The whale is' }]
    const long = await client.chat.completions.create({ ...base, messages, max_tokens: 40, temperature: 0 })
    const text = long.choices[0]!.message.content!
    const stop = text.slice(20, 24)
    const short = await client.chat.completions.create({
      ...base,
      messages,
      max_tokens: 40,
      temperature: 0,
      stop,
    })
    expect(short.choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: { content: text.slice(0, text.indexOf(stop)) },
    })
  })
  test('scores answers as its logits do', async () => {
    const prompts = ['The state of the Union', ' whale ship sea']
    const { choices } = await client.completions.create({
      ...base,
      prompt: prompts,
      echo: true,
      logprobs: 1,
      max_tokens: 0,
      temperature: 0,
    })
    for (const [i, { logprobs, text }] of choices.entries()) {
      expect(text).toBe(prompts[i])
      const [first, ...scores] = logprobs!.token_logprobs!
      expect(first).toBeNull()
      const wanted = await logprobsOf(prompts[i]!)
      expect(scores).toHaveLength(wanted.length)
      // Logits of both are f32 sums in orders of their own.
      for (const [j, score] of scores.entries()) expect(Math.abs(score! - wanted[j]!)).toBeLessThan(1e-4)
    }
  })
  test('has a chance for the one new token of a score, also where that ends the text', async () => {
    // Whatever came before, the end is forced.
    const asked = {
      ...base,
      prompt: [300, 301],
      echo: true,
      logprobs: 1,
      max_tokens: 1,
      logit_bias: { 0: 100 },
    }
    const { choices } = await client.completions.create(asked)
    expect(choices[0]!.logprobs!.tokens).toHaveLength(3)
    expect(choices[0]!.logprobs!.tokens!.at(-1)).toBe('<|endoftext|>')
  })
  test('frees the place of a client that goes away', async () => {
    const running = async () => {
      const text = await (await fetch(`${facts.url}/metrics`)).text()
      return /^pare_texts_running (\d+)$/m.exec(text)?.[1]
    }
    const asked = { ...base, prompt: 'A', stream: true as const, logit_bias: { 0: -100 } }
    const streams = await Promise.all([1, 2, 3].map(() => client.completions.create(asked)))
    for (const stream of streams) for await (const _ of stream) break
    await vi.waitFor(async () => expect(await running()).toBe('0'), { timeout: 20_000 })
  })
  test('refuses a prompt that is too long with both numbers', async () => {
    const long = client.completions.create({ ...base, prompt: 'whale '.repeat(400) })
    await expect(long).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' })
  })
  test('ends at SIGINT with 130, in the middle of its texts', async () => {
    const asked = { ...base, prompt: 'A', stream: true as const, max_tokens: 200 }
    const stream = await client.completions.create(asked)
    child.kill('SIGINT')
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]!.text
    // The time that it waits for texts is enough for this one.
    expect(text.length).toBeGreaterThan(0)
    const { code, stderr } = await outcome
    expect(code, stderr).toBe(130)
    expect(stderr).toBe('\nstopping; once more to end at once\n')
  })
})

test('a text encoder gives its vectors, asks for the key of the variable and ends at SIGTERM with 143', async () => {
  const { client, child, outcome, facts } = await start(
    encoderPath('bert-sentence'),
    ['--served-name', 'texts', '--drain', '0'],
    { PARE_API_KEY: 'sesame' },
  )
  expect(facts.model).toBe('texts')
  const { texts, vectors } = expectedOf('bert-sentence')
  const input = ['The cats!', 'a']
  const { data } = await client.embeddings.create({ model: 'texts', input })
  expect(data).toHaveLength(2)
  // The tolerance of the encoder's own test.
  for (const [i, { embedding }] of data.entries())
    expect(distance(embedding, vectors[texts.indexOf(input[i]!)]!)).toBeLessThan(1e-5)
  const stranger = await fetch(`${facts.url}/v1/models`)
  expect(stranger.status).toBe(401)
  child.kill('SIGTERM')
  expect((await outcome).code).toBe(143)
})

describe('what cannot be served ends', () => {
  test('with exit code 6 for a model that is not there, and for a port that is taken', async () => {
    const missing = pare(['serve', join(folder, 'missing.gguf'), '--port', '0', '--json'])
    expect([missing.code, missing.stdout]).toEqual([6, ''])
    const { facts, child, outcome } = await start(encoderPath('bert-sentence'))
    const taken = pare(['serve', model, '--port', String(facts.port), '--json'])
    expect(taken.code).toBe(6)
    expect(jsonError(taken).code).toBe('PARE_E_ADDRESS')
    child.kill('SIGINT')
    await outcome
  })
  test('with exit code 2 for a context that the model has not', () => {
    const outcome = pare(['serve', model, '--port', '0', '--context', '257', '--json'])
    expect(outcome.code).toBe(2)
    expect(jsonError(outcome).message).toMatch(/context.*256.*257/)
  })
})
test('a signal while the model is loaded ends with 130, and a second one ends the process', async () => {
  const { child, outcome } = startPare(['serve', model, '--port', '0'])
  let seen = ''
  child.stderr!.on('data', (data) => {
    seen += data
  })
  await new Promise((resolve) => setTimeout(resolve, 150))
  child.kill('SIGINT')
  const { code, signal } = await outcome
  expect([130, null], seen).toContain(code)
  if (code === null) expect(signal).toBe('SIGINT')
})
