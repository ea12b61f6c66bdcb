/**
 * Source and result side by side: what each writes after the same prompts, token by most likely token, and where their
 * logits part on a text that both read. One model is in memory at a time, whole and in f32.
 */
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { embedBatch, type SequenceBatch } from '../models/batches.ts'
import { GrowingCache } from '../models/key_value_cache.ts'
import type { ResidentLlama } from '../models/llama/llama.ts'
import type { OpenCompressible, OpenLanguageModel } from '../models/open_model.ts'
import { AbortError } from '../tensor/errors.ts'
import { dispose, logSoftmax, scope, trimPool } from '../tensor/index.ts'
import type { RunHooks } from './evaluate.ts'
import type { GreedySample, LogitParting } from './report.ts'

export interface SideBySideOptions extends RunHooks {
  /** What the models continue, all at once: each is cut to as many tokens as the shortest has. @default three short ones */
  prompts?: readonly string[]
  /** Tokens that are written after each, at most; the end of a text or of the context ends them too. @default 48 */
  tokens?: number
  /** What both models read. @default a paragraph of English */
  passage?: string
}

const usualPrompts = [
  'The three states of matter are',
  'Once upon a time there was',
  'def fibonacci(n):\n',
] as const

const usualPassage =
  'The harbour master wrote down every ship that came in. In the year 1874 there were 212 of them, most with coal and timber. ' +
  'When a storm was near, he hung a red lamp above the door, so that nobody would sail before the morning.'

/** Tokens that the usual passage has at most, in a vocabulary so large that it counts: those at hand make 75 of it. */
export const passageTokens = 128

/**
 * @throws AbortError when `signal` stops it.
 * @example const { samples, parting } = await sideBySide(source, result)
 */
export async function sideBySide(
  source: OpenLanguageModel,
  result: OpenLanguageModel,
  options: SideBySideOptions = {},
): Promise<{ samples: GreedySample[]; parting: LogitParting }> {
  const { prompts = usualPrompts, tokens = 48, passage = usualPassage } = options
  const tokenizer = source.tokenizer()
  const { context } = source.model.config
  const starts = equallyLong(
    prompts.map((prompt) => tokenizer.encode(prompt)),
    context,
  )
  const read = tokenizer.encode(passage).subarray(0, context)
  const task = { starts, read, length: tokens, context, ends: new Set(tokenizer.eosIds) }
  const before = await readModel(source, task, options, 0)
  const after = await readModel(result, task, options, 0.5)
  return {
    samples: starts.map((start, i) => compare(tokenizer, start, before.written[i]!, after.written[i]!)),
    parting: partingOf(tokenizer, read, before.scores, after.scores),
  }
}

/** Bytes of the model when it is loaded whole. */
export function residentBytes({ weights }: OpenCompressible): number {
  let numbers = 0
  for (const { shape } of weights.infos.values()) numbers += shape.reduce((a, b) => a * b, 1)
  return 4 * numbers
}

/** Memory that a run takes for it unasked. A fixed number, so that the same run says the same each time. */
const FREE_BYTES = 2 ** 30

/** Why the source is not loaded whole where nobody asked for it, or nothing where it may be. */
export function tooLarge(source: OpenCompressible): string | undefined {
  const needed = residentBytes(source)
  if (needed <= FREE_BYTES) return undefined
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
  return `no texts side by side: the whole model needs ${gigabytes(needed)}; --side-by-side writes them all the same`
}

interface Task {
  starts: readonly Uint32Array[]
  read: Uint32Array
  length: number
  context: number
  /** Ids that end a text. */
  ends: ReadonlySet<number>
}

interface Readings {
  /** New tokens after each start. */
  written: number[][]
  /** Log-probabilities [read.length, vocabulary]. */
  scores: Float32Array
}

/** `done` is the share of the work before this model; it is half of it. */
async function readModel(
  { model }: OpenLanguageModel,
  task: Task,
  { progress, signal }: RunHooks,
  done: number,
): Promise<Readings> {
  const text = done === 0 ? 'the source' : 'the result'
  const step = async (share: number) => {
    progress?.({ kind: 'progress', phase: 'sample', share: done + share / 2, text })
    await new Promise((resolve) => setImmediate(resolve))
    if (signal?.aborted) throw new AbortError()
  }
  await step(0)
  trimPool()
  const resident = scope(() => model.load())
  try {
    const scores = scope(() =>
      task.read.length === 0
        ? new Float32Array(0)
        : (logSoftmax(resident.forward(task.read)).toArray() as Float32Array),
    )
    const written = task.starts.length === 0 ? [] : await continued(resident, task, step)
    return { written, scores }
  } finally {
    dispose(resident)
    trimPool()
  }
}

/** The tokens after each start, each the most likely one; of equally likely ones the lowest id. */
async function continued(
  resident: ResidentLlama,
  { starts, length, context, ends }: Task,
  step: (share: number) => Promise<void>,
): Promise<number[][]> {
  const { model } = resident
  const cache = new GrowingCache(model.config.layers.length)
  const written = starts.map((): number[] => [])
  const ended = new Set<number>()
  const count = starts.length
  try {
    let batch: SequenceBatch = {
      ids: Uint32Array.from(starts.flatMap((ids) => [...ids])),
      count,
      tokens: starts[0]!.length,
    }
    for (let done = 0; done < length; done++) {
      const next = scope(() => {
        const embeddings = embedBatch(model, batch)
        const logits = resident.forward(batch.ids, { cache, embeddings })
        return Uint32Array.from(
          logits
            .slice(1, batch.tokens - 1, batch.tokens)
            .argmax(-1)
            .toArray(),
          Number,
        )
      })
      for (const [i, id] of next.entries()) {
        if (ends.has(id)) ended.add(i)
        if (!ended.has(i)) written[i]!.push(id)
      }
      if (ended.size === count || cache.length >= context) break
      batch = { ids: next, count, tokens: 1 }
      await step((done + 1) / length)
    }
    return written
  } finally {
    cache.dispose()
  }
}

/** Those with tokens, cut to the length of the shortest, so that they can run as one batch. */
function equallyLong(prompts: readonly Uint32Array[], most: number): Uint32Array[] {
  const present = prompts.filter(({ length }) => length > 0)
  const shortest = present.reduce((least, { length }) => Math.min(least, length), most)
  return present.map((ids) => ids.subarray(0, shortest))
}

function compare(
  tokenizer: Tokenizer,
  start: Uint32Array,
  source: readonly number[],
  result: readonly number[],
): GreedySample {
  const shows = { skipSpecialTokens: true }
  const prompt = tokenizer.decode(start, shows)
  // A tokenizer may drop the blank at the beginning of what it decodes, which here is one between words.
  const after = (ids: readonly number[]) => {
    const whole = tokenizer.decode([...start, ...ids], shows)
    return whole.startsWith(prompt) ? whole.slice(prompt.length) : tokenizer.decode(ids, shows)
  }
  const [text, textSource] = [after(result), after(source)]
  const token = commonLength(source, result)
  if (token === source.length && token === result.length) return { prompt, text, textSource }
  // A token may end inside a character.
  const character = Math.min(after(source.slice(0, token)).length, commonLength(text, textSource))
  return { prompt, text, textSource, parts: { token, character } }
}

/** How many of the first elements are the same. */
function commonLength<T>(a: ArrayLike<T>, b: ArrayLike<T>): number {
  const most = Math.min(a.length, b.length)
  for (let i = 0; i < most; i++) if (a[i] !== b[i]) return i
  return most
}

function partingOf(
  tokenizer: Tokenizer,
  read: Uint32Array,
  source: Float32Array,
  result: Float32Array,
): LogitParting {
  const vocabulary = source.length / Math.max(1, read.length)
  const positions = Array.from(read, (id, i) => {
    const [p, q] = [source, result].map((all) => all.subarray(i * vocabulary, (i + 1) * vocabulary))
    const [own, other] = [argmax(p!), argmax(q!)]
    return {
      token: tokenizer.tokenText(id),
      kl: divergence(p!, q!),
      agrees: own === other,
      top: tokenizer.tokenText(other),
      topSource: tokenizer.tokenText(own),
    }
  })
  const first = positions.findIndex(({ agrees }) => !agrees)
  return { prompt: tokenizer.decode(read), positions, ...(first < 0 ? {} : { first }) }
}

/** sum_v p(v) (log p(v) - log q(v)) from log-probabilities. */
function divergence(p: Float32Array, q: Float32Array): number {
  let sum = 0
  for (let i = 0; i < p.length; i++) {
    // 0 log 0 is 0.
    if (p[i]! > -Infinity) sum += Math.exp(p[i]!) * (p[i]! - q[i]!)
  }
  return sum
}

function argmax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i
  return best
}
