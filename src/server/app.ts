/** The endpoints, as a function from requests to responses: it runs behind a socket and, in tests, without one. */
import { randomUUID } from 'node:crypto'
import { type Context, Hono } from 'hono'
import { cors } from 'hono/cors'
import type { z } from 'zod'
import { printable } from '../tensor/errors.ts'
import { type HostOptions, hostCheck, keyCheck } from './access.ts'
import { Admission, type AdmissionOptions } from './admission.ts'
import { type Answer, chunkedAnswer, wholeAnswer } from './answer.ts'
import { ApiError, apiErrorOf, errorResponse } from './api_error.ts'
import { BodyBytes } from './body_text.ts'
import { chatAnswer, chatSchema } from './chat_completions.ts'
import { completionAnswer, completionSchema } from './completions.ts'
import { embeddingAnswer, embeddingSchema } from './embeddings.ts'
import { type EventStreamOptions, eventStream } from './event_stream.ts'
import { Metrics } from './metrics.ts'
import { OpenRequests } from './open_requests.ts'
import { readRequest } from './request_body.ts'
import type { SamplingFields } from './sampling_fields.ts'
import { embedderOf, generatorOf, type ServedModel } from './served_model.ts'
import { runTexts } from './text_run.ts'

export interface AppOptions extends AdmissionOptions {
  /** The model, when it is loaded. */
  model: () => ServedModel | undefined
  names: HostOptions
  /** Every request but /health must bring it. @default none */
  apiKey?: string | undefined
  /** Origins whose pages may ask. @default none */
  cors?: readonly string[]
  /** Bytes of a body. @default 10000000 */
  maxBody?: number
  /** Of streams, in milliseconds. */
  streaming?: Pick<EventStreamOptions, 'keepAlive' | 'stalled' | 'headWait'>
  /** Gets the errors that are no fault of a client. */
  log?: (error: unknown) => void
}

export interface App {
  fetch(request: Request, env?: object): Response | Promise<Response>
  /** A request without a socket. */
  request(path: string, init?: RequestInit): Response | Promise<Response>
  requests: OpenRequests
  admission: Admission
  /** Counts what was answered with this status before it was a request. */
  refused(status: number): void
}

/** What stands behind a request that came over a socket. */
interface Bindings {
  outgoing?: { destroy(): void }
}

/** One request on its way. */
interface Variables {
  /** The request is answered to its end; only the first call counts. */
  answered: () => void
  /** The answer goes on behind its head. */
  streams: boolean
}
type Env = { Bindings: Bindings; Variables: Variables }
type Call = Context<Env>

const endpoints = [
  '/v1/chat/completions',
  '/v1/completions',
  '/v1/embeddings',
  '/v1/models',
  '/health',
  '/metrics',
]
const endpointOf = (path: string): string =>
  endpoints.includes(path) ? path : path.startsWith('/v1/models/') ? '/v1/models/{id}' : 'other'

/** @example createApp({ model: () => served, names: { host: '127.0.0.1', allowed: [] }, parallel: 4, maxQueue: 64 }) */
export function createApp(options: AppOptions): App {
  const { model, maxBody = 10_000_000, log = () => {} } = options
  const app = new Hono<Env>()
  const metrics = new Metrics()
  const admission = new Admission(options)
  const requests = new OpenRequests()
  const bodies = new BodyBytes(maxBody)
  const [checkHost, checkKey] = [hostCheck(options.names), keyCheck(options.apiKey)]

  const loaded = (): ServedModel => {
    const served = model()
    if (served) return served
    throw new ApiError('the model is being loaded; try again', {
      status: 503,
      code: 'loading',
      retryAfter: 2,
    })
  }
  const named = (id: string): ServedModel => {
    const served = loaded()
    if (served.id === id) return served
    throw new ApiError(`model ${printable(id)}: is not served here, this server has ${served.id}`, {
      status: 404,
      code: 'model_not_found',
      param: 'model',
    })
  }

  app.use(async (c, next) => {
    const begun = performance.now()
    const endpoint = endpointOf(c.req.path)
    let open = true
    c.set('answered', () => {
      if (!open) return
      open = false
      // What nginx calls a client that left before its answer began, which is no fault of the server.
      const gone = c.req.raw.signal.aborted && !c.get('streams')
      metrics.requests.add(1, { endpoint, status: gone ? '499' : String(c.res.status) })
      metrics.requestSeconds.observe((performance.now() - begun) / 1000, { endpoint })
    })
    await next()
    c.header('x-request-id', `req_${randomUUID().replaceAll('-', '')}`)
    if (requests.stopping) c.header('connection', 'close')
    if (!c.get('streams')) c.get('answered')()
  })
  app.use(async (c, next) => {
    checkHost(c.req.header('host') ?? new URL(c.req.url).host)
    await next()
  })
  if (options.cors && options.cors.length > 0)
    app.use(
      cors({
        origin: options.cors.includes('*') ? '*' : [...options.cors],
        allowMethods: ['GET', 'POST'],
        exposeHeaders: ['x-request-id', 'retry-after'],
        maxAge: 600,
      }),
    )
  app.get('/health', (c) => {
    const stopping = requests.stopping
    const ready = model() !== undefined && !stopping
    return c.json({ status: ready ? 'ok' : stopping ? 'stopping' : 'loading' }, ready ? 200 : 503)
  })
  app.use(async (c, next) => {
    checkKey(c.req.header('authorization'))
    if (requests.stopping)
      throw new ApiError('the server stops; try another', { status: 503, code: 'stopping' })
    await next()
  })
  app.get('/metrics', (c) => {
    const load = model()?.language?.generator.load() ?? { running: admission.held, waiting: 0 }
    return c.text(metrics.text(load), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
  })
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [modelObject(loaded())] }))
  app.get('/v1/models/:id{.+}', (c) => c.json(modelObject(named(c.req.param('id')))))

  /** Reads a request and holds places for its texts until `answer` has answered it. */
  const post = <Schema extends z.ZodType<{ model: string }>>(
    path: string,
    schema: Schema,
    answer: (fields: z.output<Schema>, served: ServedModel, call: Call) => Promise<Response>,
  ) => {
    app.post(path, async (c) => {
      loaded()
      const fields = await readRequest(c.req.raw, schema, bodies)
      return await answer(fields, named(fields.model), c)
    })
    app.all(path, () => {
      throw new ApiError(`${path}: POST is needed`, { status: 405, code: 'method_not_allowed' })
    })
  }

  /** Writes the texts of an answer, as a whole or as a stream. */
  const write = async (
    fields: SamplingFields,
    served: ServedModel,
    answer: Answer,
    c: Call,
  ): Promise<Response> => {
    const { count, leave } = admission.enter(answer.requests.length)
    const { signal, abort, done } = requests.enter(c.req.raw.signal)
    const end = () => {
      leave()
      done()
    }
    const outgoing = c.env.outgoing
    try {
      const { generator } = generatorOf(served)
      const events = runTexts(answer.requests, { generator, parallel: count, signal, metrics })
      if (!fields.stream) {
        const whole = await wholeAnswer(answer, served, events)
        end()
        return c.json(whole)
      }
      const includeUsage = fields.stream_options?.include_usage === true
      const response = await eventStream(chunkedAnswer(answer, served, events, { includeUsage }), {
        ...options.streaming,
        stop: abort,
        giveUp: outgoing && (() => outgoing.destroy()),
        failed: (error) => {
          if (apiErrorOf(error).status === 500) log(error)
        },
        done: () => {
          end()
          c.get('answered')()
        },
      })
      c.set('streams', true)
      return response
    } catch (error) {
      end()
      throw error
    }
  }
  const checkStream = ({ stream, stream_options }: SamplingFields) => {
    if (stream_options && !stream)
      throw new ApiError('stream_options: needs stream to be true', {
        status: 400,
        param: 'stream_options',
        code: 'invalid_value',
      })
  }

  post('/v1/chat/completions', chatSchema, async (fields, served, c) => {
    checkStream(fields)
    return await write(fields, served, await chatAnswer(fields, generatorOf(served)), c)
  })
  post('/v1/completions', completionSchema, async (fields, served, c) => {
    checkStream(fields)
    return await write(fields, served, await completionAnswer(fields, generatorOf(served)), c)
  })
  post('/v1/embeddings', embeddingSchema, async (fields, served, c) => {
    const embedder = embedderOf(served)
    const { leave } = admission.enter(1)
    const { signal, done } = requests.enter(c.req.raw.signal)
    try {
      return c.json(await embeddingAnswer(fields, embedder, served, signal))
    } finally {
      leave()
      done()
    }
  })
  app.notFound((c) =>
    errorResponse(
      new ApiError(`${c.req.method} ${printable(c.req.path)}: is no endpoint of this server`, {
        status: 404,
        code: 'unknown_endpoint',
      }),
    ),
  )
  app.onError((error) => {
    const known = apiErrorOf(error)
    if (known.status === 500 && !(error instanceof ApiError)) log(error)
    return errorResponse(known)
  })
  return {
    fetch: (request, env) => app.fetch(request, env ?? {}),
    request: (path, init) => app.request(path, init, {}),
    requests,
    admission,
    refused: (status) => metrics.requests.add(1, { endpoint: 'other', status: String(status) }),
  }
}

const modelObject = ({ id, created, context, quantization }: ServedModel) => ({
  id,
  object: 'model',
  created,
  owned_by: 'pare',
  context_length: context,
  quantization,
})
