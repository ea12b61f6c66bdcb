/**
 * Twenty steps beside those of PyTorch (bench/peers/follow): in f64 the same but for rounding, in f32 no farther from
 * PyTorch's f64 run than four times its own f32 run is.
 */
import { describe, expect, test } from 'vitest'
import { resnet } from '../models/classifiers/resnet.ts'
import {
  type Followed,
  type FollowedRun,
  followedImages,
  followedLlama,
  followedLlamaWeights,
  followedResNetWeights,
  followedRun,
  followedTokens,
} from '../models/followed.suite.ts'
import { Llama } from '../models/llama/llama.ts'
import { memoryWeights } from '../models/memory_weights.ts'
import { Parameters } from '../nn/parameters.ts'
import { adamW } from '../optim/adam.ts'
import { sgd } from '../optim/sgd.ts'
import type { TrainingTask } from '../optim/training_task.ts'
import { crossEntropy, scope, type Tensor, tensor } from '../tensor/index.ts'
import { type LanguageBatch, languageTask } from './language_task.ts'
import { Trainer } from './trainer.ts'

const steps = 20
type Real = 'f32' | 'f64'

interface Found {
  losses: number[]
  gradientNorms: number[]
  /** Norms of all weights and running statistics after steps 1, 5 and 20. */
  norms: Record<string, Record<string, number>>
}

function optimiserOf({ optimiser: { kind, rate, decay } }: Followed, parameters: Parameters) {
  return kind === 'sgd' ? sgd({ rate, momentum: 0.9, decay })(parameters) : adamW({ rate, decay })(parameters)
}

function followed<B extends { ids: Uint32Array }>(
  run: Followed,
  task: TrainingTask<B>,
  batches: readonly B[],
): Found {
  let at = 0
  const loader = { next: () => batches[at++], epoch: 0, state: () => at, load: () => {} }
  const trainer = new Trainer({ task, loader, optimiser: optimiserOf(run, task.parameters) })
  const found: Found = { losses: [], gradientNorms: [], norms: {} }
  for (let step = 1; step <= steps; step++) {
    const { loss, gradientNorm } = trainer.next()!
    found.losses.push(loss)
    found.gradientNorms.push(gradientNorm)
    if (run.float64.weights[step as unknown as '1'])
      found.norms[step] = Object.fromEntries(
        [...task.parameters.states()].map(([path, state]) => [
          path,
          scope(() => state.tensor().cast('f64').norm().item()),
        ]),
      )
  }
  return found
}

function llamaRun(run: Followed, dtype: Real): Found {
  return scope(() => {
    const parameters = new Parameters()
    for (const [name, weight] of followedLlamaWeights(run.seed)) parameters.add(name, weight.cast(dtype))
    const model = new Llama(followedLlama, memoryWeights(parameters.tensors()))
    const batches = followedTokens(run.seed, steps).map(({ inputs, targets }): LanguageBatch => {
      const shape = [4, inputs.length / 4]
      return {
        ids: Uint32Array.of(0, 1, 2, 3),
        inputs: tensor(inputs, shape, 'u32'),
        labels: tensor(targets, shape, 'u32'),
      }
    })
    try {
      return followed(run, languageTask(model.load(), parameters), batches)
    } finally {
      parameters.dispose()
    }
  })
}

function resnetRun(run: Followed, dtype: Real): Found {
  return scope(() => {
    const parameters = new Parameters()
    const weights = followedResNetWeights(run)
    const made = (path: string) => weights.get(path)!.cast(dtype)
    const net = resnet(
      { depth: 8, classes: 10, width: 8 },
      {
        weight: (path) => parameters.add(path, made(path)),
        buffer: (path) => parameters.addBuffer(path, made(path)),
      },
    )
    const batches = followedImages(run.seed, steps).map(({ inputs, targets }) => ({
      ids: Uint32Array.from(targets.keys()),
      inputs: inputs.cast(dtype),
      labels: tensor(targets, [8], 'u32'),
    }))
    const task: TrainingTask<(typeof batches)[number]> = {
      parameters,
      losses: ({ inputs, labels }): Tensor =>
        crossEntropy(net.forward(inputs, { training: true }), labels, { reduction: 'none' }),
    }
    try {
      return followed(run, task, batches)
    } finally {
      parameters.dispose()
    }
  })
}

/** The largest difference of two series. */
const distance = (a: readonly number[], b: readonly number[]) =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)))
const relative = (a: number, b: number) => Math.abs(a - b) / Math.max(Math.abs(b), 1e-12)

function expectRounding(found: Found, { losses, gradientNorms, weights }: FollowedRun) {
  // Twenty steps let a rounding of 1e-16 grow.
  for (const [i, loss] of losses.entries()) expect(relative(found.losses[i]!, loss)).toBeLessThan(1e-10)
  for (const [i, norm] of gradientNorms.entries())
    expect(relative(found.gradientNorms[i]!, norm)).toBeLessThan(1e-9)
  for (const [step, named] of Object.entries(weights))
    for (const [path, { norm }] of Object.entries(named))
      if (norm > 1e-9)
        expect(relative(found.norms[step]![path]!, norm), `${path} after ${step}`).toBeLessThan(1e-9)
}

describe.each([
  ['llama', llamaRun],
  ['resnet', resnetRun],
] as const)('%s', (family, run) => {
  test.each(['sgd', 'adamw'] as const)('%s in f64 is the run of PyTorch but for rounding', (optimiser) => {
    const wanted = followedRun(`${family}-${optimiser}`)
    expectRounding(run(wanted, 'f64'), wanted.float64)
  })
  test.each(['sgd', 'adamw'] as const)(
    '%s in f32 is at most four times as far from f64 as PyTorch in f32 is',
    (optimiser) => {
      const wanted = followedRun(`${family}-${optimiser}`)
      const found = run(wanted, 'f32')
      for (const series of ['losses', 'gradientNorms'] as const) {
        const own = distance(wanted.float32[series], wanted.float64[series])
        expect(distance(found[series], wanted.float64[series])).toBeLessThanOrEqual(4 * own)
      }
    },
  )
})
