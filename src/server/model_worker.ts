/** The thread of a served model: it opens the model and answers for it until it is ended. */
import { parentPort, workerData } from 'node:worker_threads'
import { answerGenerator } from '../generate/generator_port.ts'
import { createTextGenerator, type TextGeneratorOptions } from '../generate/text_generator.ts'
import { openModel } from '../models/load_model.ts'
import { type ErrorRecord, errorRecord } from '../tensor/error_record.ts'
import { setThreads } from '../tensor/index.ts'
import { answerEmbedder, type EncoderFacts } from './embedder_port.ts'

export interface ModelTask {
  path: string
  name: string
  /** Of language models. */
  generator: TextGeneratorOptions
  threads?: number | undefined
}

/** What the thread says once. */
export type ModelReady =
  | { kind: 'generates'; context: number }
  | { kind: 'embeds'; encoder: EncoderFacts }
  | { kind: 'not loaded'; error: ErrorRecord }

const { path, name, generator: options, threads } = workerData as ModelTask
const port = parentPort!
const say = (message: ModelReady) => port.postMessage(message)
try {
  if (threads !== undefined) setThreads(threads)
  const open = openModel(path, name)
  if (open.family === 'llama') {
    const generator = createTextGenerator(open, options)
    answerGenerator(port, generator)
    say({ kind: 'generates', context: generator.context })
  } else say({ kind: 'embeds', encoder: answerEmbedder(port, open) })
} catch (error) {
  say({ kind: 'not loaded', error: errorRecord(error) })
  port.unref()
}
