/** `pare serve`: a model behind OpenAI's endpoints, until a signal ends it. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { fetchProgress } from '../run/evaluate.ts'
import type { RunningServer, ServeOptions } from '../server/serve.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { size, whole } from './arguments.ts'
import { addRunFlags, modelArgument } from './flags.ts'
import { addGeneratorFlags, type GeneratorFlags, generatorOptions, namedByFlag } from './generator_flags.ts'
import { showError } from './show_error.ts'
import { jsonText } from './show_json.ts'
import { terminalProgress } from './terminal.ts'

const examples = `
Examples:
  pare serve smaller                                    on http://127.0.0.1:8080, for this machine alone
  pare serve model.gguf --port 9000 --context 2048      less memory for each text
  PARE_API_KEY=... pare serve model.gguf --host 0.0.0.0 for other machines too

Endpoints: POST /v1/chat/completions, /v1/completions, /v1/embeddings; GET /v1/models, /health, /metrics. Text encoders
serve /v1/embeddings, language models the other two. A prompt that is too long is refused and never cut.

Ctrl-C takes no more requests, waits --drain seconds for texts that are being written, and ends; once more ends at once.`

/** What is typed. */
interface Flags extends Omit<ServeOptions, 'source' | 'allowedHosts' | 'generator'>, GeneratorFlags {
  allowedHost?: string[]
  drain: number
  json?: boolean
}

export function addServe(pare: Command): void {
  const command = pare
    .command('serve')
    .description("Serve a model to programs that speak OpenAI's interface.")
    .argument('<model>', modelArgument)
    .addHelpText('after', examples)
  addAddressFlags(command)
  addTextFlags(command)
  addGeneratorFlags(command)
  addRunFlags(command, 'address and model as JSON on stdout when it is ready; errors as JSON on stderr', {
    threads: true,
  }).action(serveModel)
}

function addAddressFlags(command: Command): void {
  command
    .optionsGroup('Address:')
    .option(
      '--host <address>',
      'address to listen on; 0.0.0.0 for all of this machine, which other machines reach: set a key then (default: 127.0.0.1)',
    )
    .option('--port <n>', '0 to 65535; 0 takes a free one (default: 8080)', port)
    .addOption(
      new Option(
        '--api-key <key>',
        'key that requests must bring, but those of /health; others see what is typed here, so that the variable is better (default: none)',
      ).env('PARE_API_KEY'),
    )
    .option(
      '--allowed-host <name>',
      'name that the server may be called by beside its address and localhost, or * for any: for a name in the network or a proxy. May be repeated (default: none)',
      repeated,
    )
    .option(
      '--cors <origin>',
      'origin whose pages in browsers may ask, such as http://localhost:5173, or * for any. May be repeated (default: none)',
      origin,
    )
    .option(
      '--max-body <size>',
      'bytes of a request at most; more are answered with 413 (default: 10MB)',
      size,
    )
    .option(
      '--drain <seconds>',
      'whole seconds from 0 that texts may still be written after the first Ctrl-C (default: 5)',
      whole(0),
      5,
    )
}

function addTextFlags(command: Command): void {
  command
    .optionsGroup('Texts:')
    .option(
      '--served-name <name>',
      'name of the model in requests and answers, for clients with a fixed one (default: that of the file or folder)',
    )
    .option(
      '--parallel <n>',
      'texts that are written at once, 1 to 1024; more are faster in all, and each is slower (default: 8)',
      whole(1),
    )
    .option(
      '--max-queue <n>',
      'texts that wait for a place, from 0; what comes then is answered with 429 (default: 64)',
      whole(0),
    )
    .option(
      '--chat-template <file>',
      'Jinja template for /v1/chat/completions, for models without one or to replace it (default: that of the model)',
    )
}

function port(text: string): number {
  const value = whole(0)(text)
  if (value <= 65535) return value
  throw new InvalidArgumentError('A whole number from 0 to 65535 is needed.')
}

const repeated = (text: string, before: readonly string[] = []): string[] => [...before, text]

/** As browsers send it: no path, no slash at its end. */
function origin(text: string, before: readonly string[] = []): string[] {
  if (text === '*' || (URL.canParse(text) && new URL(text).origin === text)) return [...before, text]
  throw new InvalidArgumentError('An origin such as http://localhost:5173 or * is needed.')
}

async function serveModel(
  source: string,
  { allowedHost, context, cacheMemory, dtype, packed, drain, json = false, apiKey, ...options }: Flags,
): Promise<void> {
  if (apiKey === '')
    throw new OptionError('--api-key: is empty; leave it and PARE_API_KEY out, or give a key')
  const { show, stop } = terminalProgress({ quiet: json })
  const stopped = new AbortController()
  const signalled = nextSignal(stopped)
  const generator = generatorOptions({ context, cacheMemory, dtype, packed })
  try {
    // What it needs is loaded with it: other commands start without.
    const { serve } = await import('../server/serve.ts')
    const server = await serve(
      { ...options, source, apiKey, generator, ...(allowedHost ? { allowedHosts: allowedHost } : {}) },
      { signal: stopped.signal, progress: fetchProgress(show), log: (error) => showError(error, json) },
    )
      .finally(stop)
      .catch((error) => {
        throw namedByFlag(error)
      })
    tell(server, { ...options, apiKey }, json)
    const name = await Promise.race([signalled, server.closed]).catch(async (error) => {
      await server.close({ drain: 0 })
      throw error
    })
    await server.close({ drain: 1000 * drain })
    process.exitCode = name === 'SIGINT' ? 130 : 143
  } finally {
    signalled.ignore()
  }
}

/** The name of the first signal; the next one ends the process. */
function nextSignal(stopped: AbortController): Promise<NodeJS.Signals> & { ignore: () => void } {
  let hear: (name: NodeJS.Signals) => void
  const signalled = new Promise<NodeJS.Signals>((resolve) => {
    hear = (name) => {
      if (stopped.signal.aborted) {
        // To exit, Node would wait for the model's thread, which may be inside a call that does not return.
        process.removeAllListeners(name)
        process.kill(process.pid, name)
      }
      process.stderr.write('\nstopping; once more to end at once\n')
      stopped.abort()
      resolve(name)
    }
    process.on('SIGINT', hear)
    process.on('SIGTERM', hear)
  })
  const ignore = () => {
    process.off('SIGINT', hear)
    process.off('SIGTERM', hear)
  }
  return Object.assign(signalled, { ignore })
}

/** Where the server is, and a first request. */
function tell(
  { url, port, model }: RunningServer,
  { host, apiKey }: Pick<ServeOptions, 'host' | 'apiKey'>,
  json: boolean,
): void {
  const { id, context, quantization, answers } = model
  if (json) {
    process.stdout.write(`${jsonText({ url, port, model: id, context_length: context, quantization })}\n`)
    return
  }
  const [path, body] =
    answers === 'vectors'
      ? ['embeddings', { model: id, input: 'A cat sits.' }]
      : answers === 'chats'
        ? ['chat/completions', { model: id, messages: [{ role: 'user', content: 'Hello' }] }]
        : ['completions', { model: id, prompt: 'Once upon a time' }]
  const variable = process.env.PARE_API_KEY === undefined ? 'KEY' : '$PARE_API_KEY'
  const key = apiKey === undefined ? '' : ` -H "Authorization: Bearer ${variable}"`
  const near = host === '0.0.0.0' || host === '::' ? `http://localhost:${port}` : url
  process.stderr.write(
    [
      `serving ${printable(id)} on ${url}, ${context} tokens of context, ${quantization.format} with ${quantization.bits_per_weight} bits a weight`,
      ...(answers === 'texts' ? ['no chat template: /v1/chat/completions is refused'] : []),
      `  curl ${near}/v1/${path} -H "Content-Type: application/json"${key} -d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`,
      '',
    ].join('\n'),
  )
}
