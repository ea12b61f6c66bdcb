/**
 * The runs of bench/peers/follow: what PyTorch found, and the same weights and batches from Pare's own generator. The
 * README there is the recipe.
 */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { indexSelect, ones, randomStream, scope, type Tensor, tensor, zeros } from '../tensor/index.ts'
import type { LlamaConfig } from './llama/config.ts'
import { freshWeights } from './llama/fresh_weights.ts'
import { plainLlama } from './llama/plain_llama.suite.ts'

export interface WeightSummary {
  shape: number[]
  /** Root of the sum of squares. */
  norm: number
  /** The first four values in row-major order. */
  first: number[]
}

export interface FollowedRun {
  /** Before each step. */
  losses: number[]
  /** Over all weights, before each step. */
  gradientNorms: number[]
  /** After steps 1, 5 and 20, by name. */
  weights: Record<'1' | '5' | '20', Record<string, WeightSummary>>
}

export interface Followed {
  seed: number
  optimiser: { kind: 'sgd' | 'adamw'; rate: number; decay: number }
  /** The first eight of each. */
  firstBatch: { inputs: number[]; targets: number[] }
  initial: Record<string, WeightSummary>
  float64: FollowedRun
  float32: FollowedRun
}

const folder = fileURLToPath(new URL('../../bench/peers/follow/', import.meta.url))

export const followedRun = (name: `${'llama' | 'resnet'}-${'sgd' | 'adamw'}`): Followed =>
  JSON.parse(readFileSync(`${folder}${name}.json`, 'utf8'))

/** Inputs of a step and what they should give. */
export interface FollowedBatch<Inputs> {
  inputs: Inputs
  targets: Uint32Array
}

export const followedLlama: LlamaConfig = plainLlama({
  hidden: 64,
  layers: Array.from({ length: 2 }, () => ({ heads: 4, kvHeads: 2, intermediate: 172 })),
  headSize: 16,
  vocabulary: 256,
  context: 32,
})

export const followedLlamaWeights = (seed: number): Map<string, Tensor> =>
  freshWeights(followedLlama, { seed, deviation: 0.1 })

/** Token ids [4 * 32], one sequence after another, and the token after each. */
export function followedTokens(seed: number, steps: number): FollowedBatch<Uint32Array>[] {
  const [sequences, context] = [4, followedLlama.context]
  const stream = randomStream(seed, 'tokens')
  return Array.from({ length: steps }, () => {
    const bits = scope(() => stream.bits([sequences, context + 1]).toArray() as Uint32Array)
    const [inputs, targets] = [new Uint32Array(sequences * context), new Uint32Array(sequences * context)]
    for (let sequence = 0; sequence < sequences; sequence++) {
      const begin = sequence * (context + 1)
      let token = bits[begin]! % 256
      for (let i = 0; i < context; i++) {
        inputs[sequence * context + i] = token
        token = (5 * token + (bits[begin + i + 1]! % 4)) % 256
        targets[sequence * context + i] = token
      }
    }
    return { inputs, targets }
  })
}

/** Weights and running statistics by name, f32; kernels are [out, height, width, in]. */
export function followedResNetWeights({ seed, initial }: Followed): Map<string, Tensor> {
  const fresh = (name: string, shape: number[]): Tensor => {
    if (/\.(bias|running_mean)$/.test(name)) return zeros(shape)
    if (shape.length === 1) return ones(shape)
    const spread = shape.length === 4 ? Math.sqrt(2 / (9 * shape[3]!)) : Math.sqrt(1 / shape[1]!)
    return scope(() => randomStream(seed, name).normal(shape, 'f64').mul(spread).cast('f32'))
  }
  return new Map(Object.entries(initial).map(([name, { shape }]) => [name, fresh(name, shape)]))
}

/** Images [8, 16, 16, 3] in f32 and their classes. */
export function followedImages(seed: number, steps: number): FollowedBatch<Tensor>[] {
  const [noise, labels] = [randomStream(seed, 'images'), randomStream(seed, 'labels')]
  return scope(() => {
    const patterns = randomStream(seed, 'patterns').normal([10, 16, 16, 3], 'f64')
    return Array.from({ length: steps }, () => {
      const targets = (labels.bits([8]).toArray() as Uint32Array).map((bits) => bits % 10)
      const chosen = indexSelect(patterns, 0, tensor(targets, [8], 'u32'))
      return { inputs: noise.normal([8, 16, 16, 3], 'f64').add(chosen).cast('f32'), targets }
    })
  })
}
