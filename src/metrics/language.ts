/**
 * Perplexity of a language model, and its distance from another one on the same tokens.
 *
 *   perplexity       exp of the mean of -log p(next token)
 *   KL               mean over tokens of sum_v p_source(v) (log p_source(v) - log p(v)), in nats
 *   KL 99%           what that of 99 of 100 tokens does not exceed
 *   top1             share of tokens where both models have the same most likely next token
 *
 * Both models run stage by stage, so that one stage of each is in memory at a time, and logits are made for 256
 * tokens at a time.
 */
import { ActivationSet, usualMemoryLimit } from '../models/activations.ts'
import { batchesOf, embedBatch, type SequenceBatch, usualBatchTokens } from '../models/batches.ts'
import type { LanguageHead, LanguageModel } from '../models/language_model.ts'
import { runStage } from '../models/stage.ts'
import { AbortError } from '../tensor/errors.ts'
import { dispose, gather, logSoftmax, scope, type Tensor, tensor, trimPool } from '../tensor/index.ts'
import type { Windows } from './windows.ts'

export interface LanguageMetrics {
  perplexity: number
  /** Of the source on the same tokens. */
  perplexitySource?: number
  /** Mean over windows, in nats a token. */
  kl?: number
  /** Of the mean over windows; absent for one window. */
  klStandardError?: number
  /** What 99 of 100 tokens do not exceed, in nats: far above the mean where few tokens carry the loss. */
  kl99?: number
  top1?: number
  /** Predictions scored. */
  tokens: number
  protocol: string
}

export interface LanguageOptions {
  model: LanguageModel
  /** The source to compare with. */
  against?: LanguageModel | undefined
  windows: Windows
  /** Share of the work that is done. */
  progress?: ((share: number) => void) | undefined
  signal?: AbortSignal | undefined
  /** Folder for hidden states that do not fit in memory. @default the one for temporary files */
  scratch?: string | undefined
  /** How the work is split. @default usualSplit */
  split?: Partial<EvaluationSplit> | undefined
}

/** Smaller pieces take less memory and more time; the figures stay the same. */
export interface EvaluationSplit {
  /** Bytes of hidden states that each model keeps in memory; the rest goes to a file. */
  stateBytes: number
  /** Tokens that run through a stage at once, where a window alone has fewer. */
  batchTokens: number
  /** Rows of logits that are made at a time: so many repay one reading of the head. Each is hundreds of kilobytes. */
  logitRows: number
  /** Rows of the head in memory at a time; absent for all. */
  headRows?: number | undefined
}

export const usualSplit: Readonly<EvaluationSplit> = {
  stateBytes: usualMemoryLimit,
  batchTokens: usualBatchTokens,
  logitRows: 256,
}
/** Rows that are scored at a time, since each takes several tensors of its size. */
export const SCORED_ROWS = 32

/** Sums over the scored tokens of one window. */
interface WindowSums {
  tokens: number
  loss: number
  sourceLoss: number
  kl: number
  /** Of each token. */
  kls: number[]
  agreed: number
}

export async function languageMetrics(options: LanguageOptions): Promise<LanguageMetrics> {
  const { model, against, windows, progress = () => {} } = options
  const sets = [model, ...(against ? [against] : [])]
  const split = { ...usualSplit, ...options.split }
  const batches = batchesOf(windows.windows, split.batchTokens)
  const hidden = sets.map(
    () =>
      new ActivationSet({
        memoryLimit: split.stateBytes,
        ...(options.scratch ? { scratch: options.scratch } : {}),
      }),
  )
  const steps = sets.reduce((sum, m) => sum + m.stages.length, 0)
  // The head costs about as much as a quarter of the stages.
  const total = steps + steps / 4
  let done = 0
  try {
    for (const [which, set] of sets.entries()) {
      await runStages(set, batches, hidden[which]!, options.signal, () => progress(++done / total))
    }
    // Two heads of a large vocabulary are the peak of memory: what the stages left in the pool goes first.
    trimPool()
    const heads = sets.map((m) => m.loadHead({ blockRows: split.headRows }))
    const sums: WindowSums[] = []
    try {
      for (const [index, { count }] of batches.entries()) {
        for (let place = 0; place < count; place++) {
          await pause(options.signal)
          const ids = windows.windows[sums.length]!
          const stateOf = (set: ActivationSet) => set.read(index, 'hidden').select(0, place)
          sums.push(
            scope(() => scoreWindow(ids, windows.firstScored, hidden.map(stateOf), heads, split.logitRows)),
          )
          progress((steps + (sums.length / windows.windows.length) * (steps / 4)) / total)
        }
      }
    } finally {
      dispose(heads)
    }
    return summarize(sums, windows, against !== undefined)
  } finally {
    for (const set of hidden) set.close()
  }
}

async function pause(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
  if (signal?.aborted) throw new AbortError()
}

/** The hidden states of every batch of windows after the last stage. */
async function runStages(
  model: LanguageModel,
  batches: readonly SequenceBatch[],
  hidden: ActivationSet,
  signal: AbortSignal | undefined,
  stageDone: () => void,
): Promise<void> {
  for (const [index, batch] of batches.entries())
    scope(() => hidden.write(index, 'hidden', embedBatch(model, batch)))
  for (const plan of model.stages) {
    await pause(signal)
    scope(() => {
      const stage = plan.load()
      for (const [index, { tokens }] of batches.entries()) {
        scope(() => {
          const before = hidden.read(index, 'hidden')
          hidden.write(index, 'hidden', runStage(stage, before, model.context(tokens)))
        })
      }
    })
    stageDone()
  }
}

/** `states` are the hidden states [tokens, hidden] of the window, one of each model. */
function scoreWindow(
  ids: Uint32Array,
  firstScored: number,
  states: readonly Tensor[],
  heads: readonly LanguageHead[],
  logitRows: number,
): WindowSums {
  const sums: WindowSums = { tokens: 0, loss: 0, sourceLoss: 0, kl: 0, kls: [], agreed: 0 }
  const scored = ids.length - 1
  for (let start = firstScored; start < scored; start += logitRows) {
    const end = Math.min(start + logitRows, scored)
    scope(() => {
      const logits = states.map((state, which) => heads[which]!.logits(state.slice(0, start, end)))
      for (let row = start; row < end; row += SCORED_ROWS) {
        const last = Math.min(row + SCORED_ROWS, end)
        const next = ids.subarray(row + 1, last + 1)
        scope(() =>
          addRows(
            sums,
            next,
            logits.map((x) => logSoftmax(x.slice(0, row - start, last - start))),
          ),
        )
      }
    })
  }
  return sums
}

/** Adds rows of log-probabilities [rows, vocabulary] of the model, and of the source where there is one. */
function addRows(sums: WindowSums, next: Uint32Array, [own, source]: Tensor[]): void {
  const index = tensor(next, [next.length, 1], 'u32')
  sums.tokens += next.length
  sums.loss -= total(gather(own!, 1, index))
  if (!source) return
  sums.sourceLoss -= total(gather(source, 1, index))
  const kls = Array.from(source.exp().mul(source.sub(own!)).sum([-1]).toArray(), Number)
  sums.kl += kls.reduce((sum, kl) => sum + kl, 0)
  sums.kls.push(...kls)
  const [a, b] = [own!, source].map((x) => x.argmax(-1).toArray())
  for (const [i, choice] of a!.entries()) if (choice === b![i]) sums.agreed += 1
}

/** Sum in f64 of a small tensor. */
function total(x: Tensor): number {
  let sum = 0
  for (const value of x.toArray()) sum += Number(value)
  return sum
}

function summarize(sums: readonly WindowSums[], windows: Windows, compared: boolean): LanguageMetrics {
  const tokens = sums.reduce((n, s) => n + s.tokens, 0)
  const mean = (of: (s: WindowSums) => number) =>
    windows.firstScored > 0
      ? sums.reduce((n, s) => n + of(s), 0) / tokens
      : sums.reduce((n, s) => n + of(s) / s.tokens, 0) / sums.length
  const result: LanguageMetrics = {
    perplexity: Math.exp(mean((s) => s.loss)),
    tokens,
    protocol: windows.protocol,
  }
  if (!compared) return result
  const kl = mean((s) => s.kl)
  result.perplexitySource = Math.exp(mean((s) => s.sourceLoss))
  result.kl = kl
  if (sums.length > 1) {
    const squares = sums.reduce((n, s) => n + (s.kl / s.tokens - kl) ** 2, 0)
    result.klStandardError = Math.sqrt(squares / (sums.length - 1) / sums.length)
  }
  const kls = Float64Array.from(sums.flatMap((s) => s.kls)).sort()
  result.kl99 = kls[Math.ceil(0.99 * kls.length) - 1]!
  result.top1 = sums.reduce((n, s) => n + s.agreed, 0) / tokens
  return result
}
