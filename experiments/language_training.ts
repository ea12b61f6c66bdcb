/** Small language models of the llama family in training: data, loss, loss on held-out text. */
import { setImmediate } from 'node:timers/promises'
import { tokenWindows } from '#src/data/token_windows.ts'
import type { LlamaConfig } from '#src/models/llama/config.ts'
import { freshWeights } from '#src/models/llama/fresh_weights.ts'
import { Llama } from '#src/models/llama/llama.ts'
import { memoryWeights } from '#src/models/memory_weights.ts'
import { Parameters } from '#src/nn/parameters.ts'
import { adamW } from '#src/optim/adam.ts'
import { createLoader } from '#src/optim/loader.ts'
import { cosine, warmUp } from '#src/optim/schedules.ts'
import type { TrainingMethod } from '#src/optim/training_method.ts'
import type { TrainingBatch } from '#src/optim/training_task.ts'
import { scope } from '#src/tensor/index.ts'
import { type LanguageBatch, languageTask } from '#src/train/language_task.ts'
import { Trainer } from '#src/train/trainer.ts'
import { languageTokens, type TextData } from './language_data.ts'
import { type Sizes, sizesOf } from './sizes.ts'

export interface LanguageTraining {
  data: TextData
  vocabulary: number
  layers: number
  heads: number
  /** Tokens of a window. */
  length: number
  batch: number
  steps: number
  /** Largest rate of AdamW (decay 0.1, norms 0), on a cosine to a tenth after a warm-up over a twentieth of the steps. */
  rate: number
  /** Windows that each part of the held-out text is measured on, evenly spaced. */
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

export interface TrainedLanguageModel extends Sizes {
  /** Nats a token, mean over the parts of the held-out text. */
  loss: number
  /** By part. */
  lossOf: Readonly<Record<string, number>>
  tokens: number
  seconds: number
  /** Of all threads; other programs on the machine leave it alone, more or less. */
  processorSeconds: number
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
    assets: string | undefined
  },
): Promise<TrainedLanguageModel> {
  const { data, vocabulary, length, batch, steps, rate, windows } = training
  const { train, heldOut } = languageTokens(data, vocabulary, assets)
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
  const started = performance.now()
  const processor = process.cpuUsage()
  for (let step = 0; step < steps; step++) {
    trainer.next()
    // Ctrl-C is heard between steps.
    await setImmediate()
  }
  trainer.finish()
  const seconds = (performance.now() - started) / 1000
  const { user, system } = process.cpuUsage(processor)
  const lossOf = Object.fromEntries(
    [...heldOut].map(([part, tokens]) => [part, heldOutLoss(task, tokens, { length, windows })]),
  )
  const losses = Object.values(lossOf)
  const found = {
    loss: losses.reduce((sum, loss) => sum + loss, 0) / losses.length,
    lossOf,
    ...sizesOf(parameters.tensors()),
    tokens: steps * batch * length,
    seconds,
    processorSeconds: (user + system) / 1e6,
  }
  trainer.dispose()
  parameters.dispose()
  return found
}

/** Mean over evenly spaced windows, in nats a token. */
function heldOutLoss(
  task: ReturnType<typeof languageTask>,
  tokens: Uint32Array,
  { length, windows }: Pick<LanguageTraining, 'length' | 'windows'>,
): number {
  const examples = tokenWindows(tokens, { length })
  const count = Math.min(windows, examples.count)
  const every = Math.floor(examples.count / count)
  const loader = createLoader(examples, {
    batch: 8,
    dropLast: false,
    epochs: 1,
    order: () => Uint32Array.from({ length: count }, (_, i) => i * every),
  })
  let sum = 0
  for (let more = true; more; )
    scope(() => {
      const batch = loader.next()
      more = batch !== undefined
      if (!batch) return
      const losses = task.losses(batch, {
        step: 0,
        stream: () => {
          throw new Error('the forward draws nothing')
        },
      })
      for (const loss of losses.toArray()) sum += Number(loss)
    })
  return sum / count
}
