/** Small language models of the llama family in training: data, loss, loss on held-out text. */
import { tokenWindows } from '#src/data/token_windows.ts'
import type { LlamaConfig } from '#src/models/llama/config.ts'
import { freshWeights } from '#src/models/llama/fresh_weights.ts'
import { Llama } from '#src/models/llama/llama.ts'
import { memoryWeights } from '#src/models/memory_weights.ts'
import { Parameters } from '#src/nn/parameters.ts'
import { adamW } from '#src/optim/adam.ts'
import type { Batch, Examples } from '#src/optim/examples.ts'
import { createLoader } from '#src/optim/loader.ts'
import { cosine, warmUp } from '#src/optim/schedules.ts'
import type { TrainingMethod } from '#src/optim/training_method.ts'
import type { TrainingBatch } from '#src/optim/training_task.ts'
import { inParts, spreadExamples } from '#src/run/training/trained_model.ts'
import { randomStream, scope } from '#src/tensor/index.ts'
import type { LogitsTask } from '#src/train/labelled_task.ts'
import { type LanguageBatch, languageTask } from '#src/train/language_task.ts'
import { Trainer } from '#src/train/trainer.ts'
import { languageTokens } from './language_data.ts'
import { type Sizes, sizesOf } from './sizes.ts'
import { mean } from './spread.ts'
import { type TrainingTime, trainTimed } from './timed_training.ts'

export interface LanguageTraining {
  /** State of the Union addresses and Moby Dick, see `languageData`. */
  data: 'addresses and novel'
  vocabulary: number
  layers: number
  heads: number
  /** Tokens of a window. */
  length: number
  batch: number
  steps: number
  /** Largest rate of AdamW (decay 0.1, norms 0), on a cosine to a tenth after a warm-up over a twentieth of the steps. */
  rate: number
  /** Windows that each era of the held-out text is measured on, evenly spaced. */
  windows: number
}

/** What the experiments on pruning train: 512,000 tokens. */
export const smallLanguage: LanguageTraining = {
  data: 'addresses and novel',
  vocabulary: 2048,
  layers: 4,
  heads: 4,
  length: 128,
  batch: 8,
  steps: 500,
  rate: 2e-3,
  windows: 64,
}

/** Heads share the width; the MLP is twice as wide. */
export function modelConfig(
  width: number,
  { vocabulary, layers, heads, length }: Pick<LanguageTraining, 'vocabulary' | 'layers' | 'heads' | 'length'>,
): LlamaConfig {
  return {
    architecture: 'llama',
    hidden: width,
    layers: Array.from({ length: layers }, () => ({ heads, kvHeads: heads, intermediate: 2 * width })),
    headSize: width / heads,
    vocabulary,
    context: length,
    normEpsilon: 1e-5,
    rotaryBase: 10_000,
    rotaryScaling: { kind: 'none' },
    tied: true,
    attentionBias: false,
  }
}

export interface TrainedLanguageModel extends Sizes, TrainingTime {
  /** Nats a token, mean over the eras of the held-out text. */
  loss: number
  /** By era. */
  lossOf: Readonly<Record<string, number>>
  tokens: number
}

export async function trainLanguageModel(
  training: LanguageTraining,
  {
    width,
    method,
    seed,
    assets,
  }: {
    width: number
    method?: ((steps: number) => TrainingMethod<TrainingBatch>) | undefined
    seed: number
    assets: string
  },
): Promise<TrainedLanguageModel> {
  const { vocabulary, length, batch, steps, rate, windows } = training
  const { train, heldOut } = languageTokens(vocabulary, assets)
  const config = modelConfig(width, training)
  const parameters = new Parameters()
  scope(() => {
    for (const [name, weight] of freshWeights(config, { seed })) parameters.add(name, weight)
  })
  const task = languageTask(new Llama(config, memoryWeights(parameters.tensors())).load(), parameters)
  const own = method?.(steps)
  const trainer = new Trainer<LanguageBatch>({
    task,
    loader: createLoader(tokenWindows(train, { length }), { batch, dropLast: true, seed }),
    optimiser: adamW({
      rate: warmUp({ steps: Math.ceil(steps / 20) }, cosine({ from: rate, to: rate / 10, steps })),
      betas: [0.9, 0.95],
      decay: 0.1,
      groups: [{ match: '**norm.weight', decay: 0 }],
    })(parameters),
    // Pruning methods hand batches on as they are.
    methods: own ? [own as TrainingMethod<LanguageBatch>] : [],
    clip: 1,
    seed,
  })
  const { losses: _, ...time } = await trainTimed(trainer, steps)
  const lossOf = Object.fromEntries(
    [...heldOut].map(([era, tokens]) => [era, heldOutLoss(task, tokenWindows(tokens, { length }), windows)]),
  )
  const found = {
    loss: mean(Object.values(lossOf)),
    lossOf,
    ...sizesOf(parameters.tensors()),
    tokens: steps * batch * length,
    ...time,
  }
  trainer.dispose()
  parameters.dispose()
  return found
}

/** Mean over evenly spaced windows, in nats a token. */
function heldOutLoss(task: LogitsTask<LanguageBatch>, examples: Examples<Batch>, windows: number): number {
  const chosen = spreadExamples(examples.count, windows)
  let sum = 0
  for (const ids of inParts(chosen, 8))
    sum += scope(() => {
      const batch = examples.batch(ids, randomStream(0, 'held out'))
      return task.lossesOf(task.logits(batch, {}), batch).cast('f64').sum().item()
    })
  return sum / chosen.length
}
