/** A small language model in training, from text to weights: data, task, optimiser and trainer together. */
import { afterAll, describe, expect, test } from 'vitest'
import { tokenWindows } from '../data/token_windows.ts'
import type { LlamaConfig } from '../models/llama/config.ts'
import { freshWeights } from '../models/llama/fresh_weights.ts'
import { Llama } from '../models/llama/llama.ts'
import { memoryWeights } from '../models/memory_weights.ts'
import { Parameters } from '../nn/parameters.ts'
import { adamW } from '../optim/adam.ts'
import { createLoader } from '../optim/loader.ts'
import { cosine, warmUp } from '../optim/schedules.ts'
import { dispose, scope, setThreads, threads } from '../tensor/index.ts'
import { languageTask } from '../train/language_task.ts'
import { Trainer } from '../train/trainer.ts'

const config: LlamaConfig = {
  architecture: 'llama',
  hidden: 48,
  layers: Array.from({ length: 2 }, () => ({ heads: 4, kvHeads: 2, intermediate: 80 })),
  headSize: 12,
  vocabulary: 64,
  context: 32,
  normEpsilon: 1e-5,
  rotaryBase: 10_000,
  rotaryScaling: { kind: 'none' },
  tied: true,
  attentionBias: false,
}
/** Counts in a circle, with every seventh number left out: a model has to look back to know the next one. */
const text = Uint32Array.from({ length: 4001 }, (_, i) => (i + Math.floor(i / 6)) % 64)

function made(dtype: 'f32' | 'f64' | 'bf16' = 'f32') {
  const parameters = new Parameters()
  scope(() => {
    for (const [name, weight] of freshWeights(config, { seed: 3 })) parameters.add(name, weight.cast(dtype))
  })
  const model = new Llama(config, memoryWeights(parameters.tensors()))
  const trainer = new Trainer({
    task: languageTask(model.load(), parameters),
    loader: createLoader(tokenWindows(text, { length: 32 }), { batch: 4, dropLast: true, seed: 1 }),
    optimiser: adamW({
      rate: warmUp({ steps: 5 }, cosine({ from: 1e-2, to: 1e-3, steps: 60 })),
      decay: 0.1,
      groups: [{ match: '**norm.weight', decay: 0 }],
    })(parameters),
    clip: 1,
  })
  return { parameters, trainer }
}
const bytesOf = (parameters: Parameters) =>
  [...parameters.states().values()].map((state) => Buffer.from(state.bytes()).toString('base64'))

const before = threads()
afterAll(() => setThreads(before))

test('it learns the text', () => {
  const { trainer } = made()
  const losses = Array.from({ length: 60 }, () => trainer.next()!.loss)
  expect(losses[0]).toBeGreaterThan(3.5)
  expect(losses.at(-1)).toBeLessThan(1)
  trainer.dispose()
})
test('1, 2 and 3 threads learn the same bits', () => {
  const found = [1, 2, 3].map((count) => {
    setThreads(count)
    const { trainer, parameters } = made()
    const losses = Array.from({ length: 6 }, () => trainer.next()!.loss)
    return [losses, bytesOf(parameters)]
  })
  expect(found[1]).toEqual(found[0])
  expect(found[2]).toEqual(found[0])
})
describe.each(['f32', 'f64', 'bf16'] as const)('%s', (dtype) => {
  test('goes on to the same bits from a state in the middle of an epoch', () => {
    const [whole, first, second] = [made(dtype), made(dtype), made(dtype)]
    for (let i = 0; i < 7; i++) whole.trainer.next()
    for (let i = 0; i < 4; i++) first.trainer.next()
    const state = first.trainer.state()
    second.trainer.load(state, JSON.parse(JSON.stringify(first.trainer.position())))
    dispose(Object.values(state))
    for (let i = 0; i < 3; i++) second.trainer.next()
    expect(bytesOf(second.parameters)).toEqual(bytesOf(whole.parameters))
  })
})
