/** A small LSTM language model in training, from text to pruned weights: data, task, methods and trainer together. */
import { expect, test } from 'vitest'
import { tokenWindows } from '../data/token_windows.ts'
import { freshWeights } from '../models/classifiers/fresh_weights.ts'
import type { LstmConfig } from '../models/lstm/config.ts'
import { LstmLanguageModel } from '../models/lstm/lstm_model.ts'
import { Parameters } from '../nn/parameters.ts'
import { adamW } from '../optim/adam.ts'
import { continuingOrder } from '../optim/continuing_order.ts'
import { createLoader } from '../optim/loader.ts'
import type { TrainingMethod } from '../optim/training_method.ts'
import { gmp } from '../prune/gmp.ts'
import { magnitudeSte } from '../prune/straight_through.ts'
import { scope } from '../tensor/index.ts'
import { carriedLanguageTask } from '../train/carried_state.ts'
import { languageTask } from '../train/language_task.ts'
import { Trainer } from '../train/trainer.ts'

const config: LstmConfig = { vocabulary: 12, embedding: 24, hidden: 24, layers: 2, dropout: 0.1, tied: true }
/** Three tokens that repeat, behind a fourth that says which: it has to be remembered. */
const text = Uint32Array.from({ length: 2001 }, (_, i) => {
  const kind = Math.floor(i / 10) ** 2 % 3
  return i % 10 === 0 ? 9 + kind : 3 * kind + (i % 3)
})

function made(methods: readonly TrainingMethod[], { carried = false, tied = true } = {}) {
  const parameters = new Parameters()
  const model = new LstmLanguageModel({ ...config, tied }, freshWeights(parameters, { seed: 2 }))
  const batch = 4
  const trainer = new Trainer({
    task: carried ? carriedLanguageTask(model, parameters, batch) : languageTask(model, parameters),
    loader: createLoader(tokenWindows(text, { length: 10 }), {
      batch,
      dropLast: true,
      seed: 1,
      ...(carried && { order: continuingOrder }),
    }),
    optimiser: adamW({ rate: 2e-2, decay: 0 })(parameters),
    methods,
    clip: 1,
  })
  const run = (steps: number) => Array.from({ length: steps }, () => trainer.next()!.loss)
  return { parameters, model, trainer, run }
}
const shareOfZeros = (parameters: Parameters, path: string) =>
  scope(() => parameters.get(path).tensor.equal(0).cast('f64').mean().item())

test.each([true, false])('it learns the text (state carried: %s)', (carried) => {
  const { trainer, run, parameters } = made([], { carried })
  const losses = run(40)
  expect(losses[0]).toBeGreaterThan(2)
  expect(Math.min(...losses.slice(-10))).toBeLessThan(1.2)
  trainer.dispose()
  parameters.dispose()
})
test.each([true, false])('embedding, gates and softmax are all pruned at one rate (tied: %s)', (tied) => {
  const { trainer, run, parameters, model } = made([gmp({ sparsity: 0.75, begin: 2, end: 10, every: 2 })], {
    tied,
  })
  run(12)
  for (const path of new Set(model.layers.map(({ name }) => name)))
    expect(shareOfZeros(parameters, path), path).toBeCloseTo(0.75, 2)
  for (const path of parameters.matching('**bias*')) expect(shareOfZeros(parameters, path)).toBeLessThan(0.6)
  trainer.dispose()
  parameters.dispose()
})
test('every layer is seen through a mask where a method puts one in its place', () => {
  const method = magnitudeSte({ sparsity: 0.5, schedule: { kind: 'periodic', every: 1 } })
  const { trainer, run, parameters, model } = made([method])
  run(3)
  for (const layer of model.layers) {
    const zeros = scope(() => layer.source.dense().equal(0).cast('f64').mean().item())
    expect(zeros, layer.name).toBeCloseTo(0.5, 2)
    expect(shareOfZeros(parameters, layer.name)).toBeLessThan(0.1)
  }
  trainer.dispose()
  parameters.dispose()
})
