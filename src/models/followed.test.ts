import { describe, expect, test } from 'vitest'
import { scope, type Tensor } from '../tensor/index.ts'
import {
  type Followed,
  followedImages,
  followedLlama,
  followedLlamaWeights,
  followedResNetWeights,
  followedRun,
  followedTokens,
} from './followed.suite.ts'
import { numbers } from './llama/fixtures.suite.ts'
import { Llama } from './llama/llama.ts'
import { memoryWeights } from './memory_weights.ts'

const llama = followedRun('llama-adamw')
const resnet = followedRun('resnet-adamw')

describe.each<[string, Followed, () => Map<string, Tensor>]>([
  ['llama', llama, () => followedLlamaWeights(llama.seed)],
  ['resnet', resnet, () => followedResNetWeights(resnet)],
])('%s', (_, { initial }, fresh) => {
  test('every weight has the shape, the first values and the norm of the one that PyTorch started from', () => {
    scope(() => {
      const weights = fresh()
      expect([...weights.keys()].sort()).toEqual(Object.keys(initial).sort())
      for (const [name, { shape, first, norm }] of Object.entries(initial)) {
        const x = weights.get(name)!
        const values = numbers(x)
        expect([name, [...x.shape], values.slice(0, 4)]).toEqual([name, shape, first])
        // The order of a sum of at most 16,384 squares.
        expect(values.reduce((sum, v) => sum + v * v, 0)).toBeCloseTo(norm * norm, 9)
      }
    })
  })
})
test('the first batches are the ones that PyTorch saw', () => {
  scope(() => {
    const [tokens, images] = [followedTokens(llama.seed, 1)[0]!, followedImages(resnet.seed, 1)[0]!]
    expect([...tokens.inputs.slice(0, 8)]).toEqual(llama.firstBatch.inputs)
    expect([...tokens.targets.slice(0, 8)]).toEqual(llama.firstBatch.targets)
    expect(numbers(images.inputs).slice(0, 8)).toEqual(resnet.firstBatch.inputs)
    expect([...images.targets]).toEqual(resnet.firstBatch.targets)
  })
})
// Each stored loss is within 1e-14 (f64) or 1e-6 (f32) of the exact one.
test.each([
  ['f64', llama.float64.losses[0]!, 1e-13],
  ['f32', llama.float32.losses[0]!, 2e-6],
] as const)(
  'llama in %s: the loss of the first batch is the one that PyTorch found',
  (dtype, expected, tolerance) => {
    const { inputs, targets } = followedTokens(llama.seed, 1)[0]!
    const loss = scope(() => {
      const weights = Array.from(
        followedLlamaWeights(llama.seed),
        ([name, x]) => [name, x.cast(dtype)] as const,
      )
      const model = new Llama(followedLlama, memoryWeights(new Map(weights)))
      const embeddings = model.embed(inputs).reshape([4, 32, 64])
      const logits = model.load().forward(new Uint32Array(0), { embeddings })
      expect([logits.dtype, logits.shape]).toEqual([dtype, [4, 32, 256]])
      return crossEntropy(logits, targets)
    })
    expect(Math.abs(loss / expected - 1)).toBeLessThan(tolerance)
  },
)

/** Mean over all positions, in nats. */
function crossEntropy(logits: Tensor, targets: Uint32Array): number {
  const [values, width] = [numbers(logits), logits.extent(-1)]
  const losses = Array.from(targets, (target, i) => {
    const row = values.slice(i * width, (i + 1) * width)
    const largest = Math.max(...row)
    return largest + Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0)) - row[target]!
  })
  return losses.reduce((a, b) => a + b, 0) / losses.length
}
