/** Opens a model for a server: its texts and templates here, its weights in a thread of their own. */
import { createHash } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { modelChatTemplate } from '../formats/tokenizer/chat_template.ts'
import { readText } from '../formats/tokenizer/tokenizer.ts'
import { generatorThread } from '../generate/generator_thread.ts'
import type { TextGeneratorOptions } from '../generate/text_generator.ts'
import { folderOf } from '../models/huggingface_model.ts'
import { loadModel } from '../models/load_model.ts'
import type { OpenModel } from '../models/open_model.ts'
import type { ResolvedSource, ResolveOptions } from '../models/source/resolved.ts'
import { version } from '../run/version.ts'
import { revivedError } from '../tensor/error_record.ts'
import {
  AbortError,
  NativeError,
  OptionError,
  printable,
  ResourceError,
  SourceError,
} from '../tensor/errors.ts'
import { instructionSet } from '../tensor/index.ts'
import { embedderThread } from './embedder_port.ts'
import { generationDefaults } from './generation_defaults.ts'
import type { ModelReady, ModelTask } from './model_worker.ts'
import type { ServedGenerator, ServedModel } from './served_model.ts'

export interface LoadOptions extends Pick<ModelTask, 'threads'> {
  /** A path, `pypi:NAME==V`, `npm:NAME@V` or `hf:ORG/NAME`. */
  source: string
  /** Name in requests. @default that of the model */
  servedName?: string | undefined
  /** A file with a chat template. @default that of the model */
  chatTemplate?: string | undefined
  generator?: TextGeneratorOptions
  offline?: boolean | undefined
}

export interface LoadedModel {
  served: ServedModel
  /** Fails when the thread of the model dies. */
  alive: Promise<never>
  close(): Promise<void>
}

/**
 * Fetches the model where it must, and returns when its weights are loaded.
 *
 * @throws AbortError when `signal` stops it, SourceError, FormatError and OptionError for what cannot be served.
 */
export async function loadServedModel(
  { source, servedName, chatTemplate: templateFile, generator = {}, threads, offline }: LoadOptions,
  hooks: Pick<ResolveOptions, 'signal' | 'progress'> = {},
): Promise<LoadedModel> {
  if (servedName === '')
    throw new OptionError('servedName: is empty; leave it out, or give the model a name', {
      facts: { option: 'servedName' },
    })
  const open = await loadModel(source, { ...hooks, offline: offline || undefined })
  let facts: Omit<ServedModel, 'context'>
  let language: Omit<ServedGenerator, 'generator'> | undefined
  try {
    facts = factsOf(open, servedName, generator)
    language = open.family === 'llama' ? languageOf(open, templateFile) : undefined
  } finally {
    open.close()
  }
  const task: ModelTask = { path: open.path, name: open.name, generator, threads }
  const worker = new Worker(new URL('./model_worker.js', import.meta.url), {
    workerData: task,
    // Those of a program such as `node --input-type=module --eval` are not for a file.
    execArgv: [],
  })
  const [ready, alive] = watched(worker, hooks.signal)
  try {
    const message = await ready
    if (message.kind === 'not loaded') throw revivedError(message.error)
    const thread =
      message.kind === 'generates'
        ? generatorThread(worker, message.context)
        : embedderThread(worker, message.encoder)
    alive.catch((error: Error) => thread.fail(error))
    const served: ServedModel =
      'generate' in thread
        ? { ...facts, context: thread.context, language: { ...language!, generator: thread } }
        : { ...facts, context: message.kind === 'embeds' ? message.encoder.longest : 0, embedder: thread }
    return {
      served,
      alive,
      async close() {
        if ('generate' in thread) await thread.close()
        await worker.terminate()
      },
    }
  } catch (error) {
    await worker.terminate()
    throw error
  }
}

function languageOf(
  open: OpenModel & { family: 'llama' },
  templateFile: string | undefined,
): Omit<ServedGenerator, 'generator'> {
  const tokenizer = open.tokenizer()
  const sources =
    templateFile === undefined ? open.chatTemplates() : new Map([['default', readTemplate(templateFile)]])
  return {
    tokenizer,
    vocabulary: open.model.config.vocabulary,
    defaults: generationDefaults(folderOf(open.path)),
    ...(sources.has('default') ? { template: modelChatTemplate(sources, tokenizer) } : {}),
  }
}

/** Bytes of a file with a template. */
const LARGEST_TEMPLATE = 1 << 20

function readTemplate(path: string): string {
  const text = readText(path, LARGEST_TEMPLATE)
  if (text !== undefined) return text
  throw new SourceError(
    `--chat-template: ${printable(path)} is not there; name a file with a Jinja template`,
    {
      code: 'PARE_E_CANNOT_READ',
      facts: { path },
    },
  )
}

function factsOf(
  { name, format, weights, resolved }: OpenModel & { resolved: ResolvedSource },
  servedName: string | undefined,
  generator: TextGeneratorOptions,
): Omit<ServedModel, 'context'> {
  const infos = [...weights.infos.values()]
  const numbers = infos.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
  const bytes = infos.reduce((sum, info) => sum + info.bytes, 0)
  // Texts of a seed are the same on the same build, instructions, numbers and weights.
  const { spec, sha256, revision } = resolved
  const { dtype, packed } = generator
  const identity = [version, instructionSet(), dtype, packed, spec, sha256, revision, weights.fileBytes]
  return {
    id: servedName ?? printable(name),
    created: Math.floor(Date.now() / 1000),
    quantization: { format, bits_per_weight: Number(((8 * bytes) / Math.max(numbers, 1)).toFixed(3)) },
    fingerprint: `fp_${createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 10)}`,
  }
}

/** The first word of a thread, and its end. */
function watched(worker: Worker, signal: AbortSignal | undefined): [Promise<ModelReady>, Promise<never>] {
  const alive = new Promise<never>((_, reject) => {
    worker.on('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? outOfMemory() : error),
    )
    worker.on('exit', (code) =>
      reject(new NativeError(`the thread of the model ended early (${code}); this is a defect of Pare`)),
    )
  })
  alive.catch(() => {})
  const stopped = new Promise<never>((_, reject) =>
    signal?.addEventListener('abort', () => reject(new AbortError()), { once: true }),
  )
  stopped.catch(() => {})
  const said = new Promise<ModelReady>((resolve) => worker.once('message', resolve))
  return [Promise.race([said, alive, stopped]), alive]
}

const outOfMemory = () =>
  new ResourceError(
    'memory: the model needs more than Node may use; give it more with NODE_OPTIONS=--max-old-space-size=MEGABYTES',
    { code: 'PARE_E_MEMORY' },
  )
