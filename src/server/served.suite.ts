/** Servers over scripted models, for tests: the tokenizer is that of pare-4m, the texts are those of a script. */
import { fileURLToPath } from 'node:url'
import OpenAI, { type ClientOptions } from 'openai'
import { afterEach } from 'vitest'
import { chatTemplate } from '../formats/tokenizer/chat_template.ts'
import { loadTokenizer } from '../formats/tokenizer/tokenizer.ts'
import {
  type Script,
  type ScriptedGenerator,
  scriptedGenerator,
} from '../generate/scripted_generator.suite.ts'
import { type App, type AppOptions, createApp } from './app.ts'
import { type HttpServer, type ListenOptions, listen } from './http_server.ts'
import type { SamplingDefaults } from './sampling_fields.ts'
import type { ServedModel, TextEmbedder } from './served_model.ts'

export const modelFolder = fileURLToPath(new URL('../../experiments/models/pare-4m', import.meta.url))
export const tokenizer = loadTokenizer(modelFolder)
export const idsOf = (text: string): number[] => [...tokenizer.encode(text)]

/** Roles in front of texts, one line each. */
const template = `{% for message in messages %}{% if message.role == 'assistant' and loop.first %}{{ raise_exception('the user speaks first') }}{% endif %}{{ message.role }}: {{ message.content }}
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}`

export interface ServedScript extends Partial<Script>, Partial<AppOptions> {
  defaults?: SamplingDefaults
  /** Serves an encoder in place of a language model. */
  embedder?: TextEmbedder
  /** @default that of the suite */
  template?: string | null
}

const facts = {
  id: 'scripted',
  created: 1_700_000_000,
  quantization: { format: 'gguf', bits_per_weight: 4.5 },
  fingerprint: 'fp_0123456789',
}

export interface Served {
  app: App
  generator: ScriptedGenerator
  /** Errors that the server has logged. */
  logged: unknown[]
}

export function serveScript({ embedder, defaults = {}, ...script }: ServedScript = {}): Served {
  const stream = () => tokenizer.stream({ skipSpecialTokens: true })
  const generator = scriptedGenerator({ stream, ...script })
  const shown = script.template === undefined ? template : script.template
  const model: ServedModel = {
    ...facts,
    context: generator.context,
    ...(embedder
      ? { embedder }
      : {
          language: {
            generator,
            tokenizer,
            vocabulary: 2048,
            defaults,
            ...(shown === null ? {} : { template: chatTemplate(shown) }),
          },
        }),
  }
  const logged: unknown[] = []
  const app = createApp({
    model: () => model,
    names: { host: '127.0.0.1', allowed: [] },
    parallel: script.slots ?? 4,
    maxQueue: 64,
    log: (error) => logged.push(error),
    ...script,
  })
  return { app, generator, logged }
}

/** Ids that are written in place of the prompt again. */
export const writes = (text: string) => () => idsOf(text)

export interface Answered {
  status: number
  headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: the shape is what the tests are about
  body: any
}

/** One request without a socket. */
export async function ask(
  app: App,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answered> {
  const response = await app.request(path, {
    ...(body === undefined
      ? {}
      : { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) }),
    headers: {
      host: 'localhost',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
  })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.startsWith('application/json')
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text }
}

/** The objects of a stream, `[DONE]` as text. */
export const objectsOf = (stream: string) =>
  stream
    .split('\n\n')
    .filter((part) => part.startsWith('data: '))
    .map((part) => part.slice('data: '.length))
    .map((part) => (part === '[DONE]' ? part : JSON.parse(part)))

const servers: HttpServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop(0)
})

export interface Listening extends Served {
  server: HttpServer
  client: OpenAI
}

/** The same behind a socket of this machine, with OpenAI's own client. */
export async function listenScript(
  script: ServedScript = {},
  options: ListenOptions & { client?: ClientOptions } = {},
): Promise<Listening> {
  const served = serveScript(script)
  const server = await listen(served.app, { port: 0, ...options })
  servers.push(server)
  const client = new OpenAI({
    baseURL: `${server.url}/v1`,
    apiKey: script.apiKey ?? 'none',
    maxRetries: 0,
    ...options.client,
  })
  return { ...served, server, client }
}
