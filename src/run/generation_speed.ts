/**
 * Tokens a second of source and result, as `pare chat --packed int8` runs them: one text at a time, in turns, since other work
 * on the machine comes and goes. Both models are in memory: what has kernels as it is stored, others as floats.
 */
import { readFileSync } from 'node:fs'
import { defaultEvaluationText } from '../calibrate/text_samples.ts'
import type { TextGenerator } from '../generate/generation.ts'
import { settingsFor } from '../generate/generator_settings.ts'
import { createTextGenerator } from '../generate/text_generator.ts'
import { embeddingName, headName } from '../models/llama/names.ts'
import type { OpenCompressible, OpenLanguageModel } from '../models/open_model.ts'
import { residentSource } from '../nn/values/resident_source.ts'
import { AbortError } from '../tensor/errors.ts'
import { currentKernels, instructionSet, scope, threads, trimPool } from '../tensor/index.ts'
import type { RunHooks } from './evaluate.ts'
import { describeMachine, machineLine } from './machine_line.ts'
import { tooLarge } from './side_by_side.ts'
import type { ModelSpeed, SpeedReport, WeightForm } from './speed_report.ts'

/** Tokens that are read, and tokens that are written after them; fewer where the context is shorter. */
export const speedTokens = { prompt: 128, written: 32 }
/** Texts of each model at most. */
export const speedRounds = 5
/** No round begins after so many seconds. */
export const speedSeconds = 3
/** A text that is written for more seconds than this ends early, */
const TEXT_SECONDS = 2
/** but not before it has so many tokens. */
const LEAST_WRITTEN = 4
/** Bytes of the text that become tokens. */
const TEXT_BYTES = 8192

export interface SpeedOptions extends RunHooks {
  /** A step of the compression set weights to 0. @default false */
  pruned?: boolean
}

/** What of the options of a compression decides whether speed is measured. */
export interface SpeedChoice {
  evaluate: boolean
  speed: boolean | undefined
  sideBySide: boolean | undefined
}

/** Whether it is measured: where it was asked for, else where texts side by side are written. */
export const measuresSpeed = (
  { evaluate, speed, sideBySide }: SpeedChoice,
  source: OpenCompressible,
): boolean => evaluate && source.family === 'llama' && (speed ?? sideBySide ?? tooLarge(source) === undefined)

/** Why it is not measured where nobody said anything about it; nothing where it is. */
export const unmeasured = (
  { speed, sideBySide }: SpeedChoice,
  source: OpenCompressible,
): string | undefined =>
  speed === undefined && sideBySide === undefined && tooLarge(source) !== undefined
    ? 'speed is not measured: the whole model takes more than 1 GiB in f32; --speed measures it all the same'
    : undefined

/**
 * Nothing where the context of the models has no room for a text, or the text no tokens. Takes three seconds and
 * a round beside the loading.
 *
 * @throws AbortError when `signal` stops it.
 * @example const speed = await generationSpeed(source, result)
 */
export async function generationSpeed(
  source: OpenLanguageModel,
  result: OpenLanguageModel,
  { pruned = false, progress, signal }: SpeedOptions = {},
): Promise<SpeedReport | undefined> {
  const task = taskOf(source)
  if (!task) return undefined
  const step = async (share: number, text: string) => {
    progress?.({ kind: 'progress', phase: 'speed', share, text })
    await new Promise((resolve) => setImmediate(resolve))
    if (signal?.aborted) throw new AbortError()
  }
  trimPool()
  const models: Loaded[] = []
  try {
    for (const [open, name] of [
      [source, 'the source'],
      [result, 'the result'],
    ] as const) {
      await step(0.1 * models.length, name)
      models.push(loaded(open, name, task))
    }
    // The first text touches memory for the first time.
    const warming = { prompt: task.prompt.subarray(0, 8), written: 1 }
    for (const { generator } of models) await ratesOf(generator, warming, signal)
    const started = performance.now()
    let rounds = 0
    do {
      const share = 0.2 + (0.8 * rounds) / speedRounds
      for (const model of rounds % 2 === 0 ? models : models.toReversed()) {
        await step(share, model.name)
        model.readings.push(await ratesOf(model.generator, task, signal))
      }
      rounds++
    } while (rounds < speedRounds && performance.now() - started < 1000 * speedSeconds)
    const [before, after] = models.map(speedOf) as [ModelSpeed, ModelSpeed]
    return {
      machine: `${machineLine(describeMachine(instructionSet()))}; ${threads()} threads`,
      prompt: task.prompt.length,
      written: task.written,
      rounds,
      ...(pruned ? { pruned } : {}),
      source: before,
      result: after,
    }
  } finally {
    for (const { generator } of models) await generator.close()
    trimPool()
  }
}

interface Task {
  prompt: Uint32Array
  /** Tokens that are timed, one more is written. */
  written: number
}

interface Loaded {
  name: string
  generator: TextGenerator
  facts: Omit<ModelSpeed, keyof Rates | 'least'>
  readings: Rates[]
}

type Rates = Pick<ModelSpeed, 'prefill' | 'decode'>

function speedOf({ facts, readings }: Loaded): ModelSpeed {
  const of = (choose: typeof Math.max) => ({
    prefill: choose(...readings.map(({ prefill }) => prefill)),
    decode: choose(...readings.map(({ decode }) => decode)),
  })
  return { ...of(Math.max), least: of(Math.min), ...facts }
}

/** A quarter of a short context is written, the rest read. */
function taskOf(source: OpenLanguageModel): Task | undefined {
  const { context } = source.model.config
  const written = Math.min(speedTokens.written, Math.floor(context / 4))
  const most = Math.min(speedTokens.prompt, context - written - 1)
  const text = readFileSync(defaultEvaluationText(), 'utf8').slice(0, TEXT_BYTES)
  const prompt = source.tokenizer().encode(text).subarray(0, Math.max(0, most))
  return written > 0 && prompt.length > 0 ? { prompt, written } : undefined
}

function loaded(open: OpenLanguageModel, name: string, { prompt, written }: Task): Loaded {
  const { config } = open.model
  const settings = { slots: 1, context: prompt.length + written + 1, packed: 'int8' } as const
  const { infos } = open.weights
  const before = currentKernels().memory().live
  const generator = createTextGenerator(open, settings)
  const held = currentKernels().memory().live - before
  const embedding = infos.get(embeddingName)!
  return {
    name,
    generator,
    readings: [],
    facts: {
      ...formOf(open),
      // A tied embedding is all there, as the head.
      weightBytes: held + (config.tied ? 0 : Math.ceil(embedding.bytes / embedding.shape[0]!)),
      contextBytes: settingsFor(config, settings).tokenBytes,
    },
  }
}

/** How `loadPacked` holds the matrices of a model. */
function formOf({
  model,
  weights,
}: OpenLanguageModel): Pick<ModelSpeed, 'form' | 'packed' | 'masked' | 'headPacked'> {
  // Of the first rows: tiles of rows are whole.
  const formIn = (name: string) =>
    scope(() => {
      const rows = Math.min(16, weights.infos.get(name)!.shape[0]!)
      const first = weights.stored?.(name, 0, rows)
      // Rows behind a turn are numbers, the whole is codes.
      const values = first?.kind === 'dense' ? weights.stored?.(name) : first
      return values ? residentSource(values, 'int8').form : 'f32'
    })
  const isPacked = (name: string) => !['f16', 'f32'].includes(formIn(name))
  const infos = model.stages.flatMap((stage) => stage.weights.map((name) => weights.infos.get(name)!))
  const count = (some: typeof infos) => some.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  const packed = count(infos.filter(({ name }) => isPacked(name))) / count(infos)
  const masked = count(infos.filter(({ name }) => formIn(name).includes('mask'))) / count(infos)
  const floats = infos.every(({ type }) => type === 'F32') ? 'f32' : 'decoded to floats'
  const form: WeightForm = packed === 1 ? 'packed int8' : packed === 0 ? floats : 'mixed'
  return {
    form,
    packed,
    ...(masked > 0 ? { masked } : {}),
    headPacked: isPacked(model.config.tied ? embeddingName : headName),
  }
}

/** Tokens a second of one text. The first token comes with the end of the prompt. */
async function ratesOf(
  generator: TextGenerator,
  { prompt, written }: Task,
  signal: AbortSignal | undefined,
): Promise<Rates> {
  const request = { prompt, maxTokens: written + 1, temperature: 0, ignoreEnd: true }
  const started = performance.now()
  let [read, last, tokens] = [started, started, -1]
  for await (const { kind } of generator.generate(request, signal ? { signal } : {})) {
    const now = performance.now()
    if (kind === 'prompt') read = now
    if (kind !== 'token') continue
    tokens++
    last = now
    if (tokens >= LEAST_WRITTEN && last - read > 1000 * TEXT_SECONDS) break
  }
  return {
    prefill: rounded((1000 * prompt.length) / (read - started)),
    decode: rounded((1000 * tokens) / (last - read)),
  }
}

/** Four digits, more than two readings agree in. */
const rounded = (rate: number): number => Number(rate.toPrecision(4))
