import { describe, expect, test } from 'vitest'
import { encoderWalk } from '../calibrate/encoder_walk.ts'
import { InputMagnitudes } from '../calibrate/input_magnitudes.ts'
import { openEncoder } from '../models/bert/fixtures.suite.ts'
import { distance, type FixtureName, numbers, openFixture } from '../models/llama/fixtures.suite.ts'
import { Llama } from '../models/llama/llama.ts'
import { memoryWeights } from '../models/memory_weights.ts'
import { runStage } from '../models/stage.ts'
import { weightsIn } from '../models/weights_in.ts'
import { inputRounding } from '../nn/rounded_inputs.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { linear, matmul, randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
import { editedWeights } from './edited_weights.suite.ts'
import { plantedChannels } from './planted_channels.suite.ts'
import { smoothingScales, smoothquant } from './smoothquant.ts'

const samples = [Uint32Array.of(1, 5, 9, 2, 7), Uint32Array.of(3, 8, 4)]

async function withModel<T>(name: FixtureName, body: (model: Llama) => Promise<T>): Promise<T> {
  const open = openFixture(name)
  try {
    return await body(open.model)
  } finally {
    open.close()
  }
}

describe.each(['llama-untied', 'llama-tied', 'qwen2', 'mistral'] as const)('%s', (name) => {
  test('the logits of the whole model stay as they are, to 1e-5 in f32', async () => {
    await withModel(name, async (model) => {
      const { edits } = await smoothquant(model, samples)
      const { config, weights } = model
      const [before, after] = scope(() =>
        [weights, editedWeights(weights, edits)].map((each) =>
          numbers(new Llama(config, each).load().forward(samples[0]!)),
        ),
      ) as [number[], number[]]
      expect(distance(after, before)).toBeLessThan(1e-5)
      // Of each block two norms, q, k, v, gate and up.
      expect(edits.size).toBe(7 * config.layers.length)
    })
  })
  test('and the outputs of every block, to 1e-12 in f64', async () => {
    await withModel(name, async ({ config, weights }) => {
      const wide = weightsIn('f64', weights)
      const model = new Llama(config, wide)
      const { edits } = await smoothquant(model, samples, { alpha: 0.8 })
      scope(() => {
        const scaled = new Llama(config, editedWeights(wide, edits))
        const hidden = randomStream(1, 'hidden').normal([1, 6, config.hidden], 'f64')
        for (const [i, plan] of model.stages.entries()) {
          const [before, after] = [plan, scaled.stages[i]!].map((each) =>
            numbers(runStage(each.load(), hidden, model.context(6))),
          ) as [number[], number[]]
          expect(distance(after, before)).toBeLessThan(1e-12)
        }
      })
    })
  })
})

test('scales worked by hand, with the floors of both', () => {
  scope(() => {
    const weights = [tensor([1, -4, 0, 3], [2, 2]), tensor([0.5, 1], [1, 2])]
    // sqrt(4) / sqrt(1), sqrt(1) / sqrt(4).
    expect([...smoothingScales(Float64Array.of(4, 1), weights, 0.5)]).toEqual([2, 0.5])
    // 16^0.75 / 1^0.25; an input that is always 0 has the floor.
    expect([...smoothingScales(Float64Array.of(16, 0), weights, 0.75)]).toEqual([8, 1e-5])
    // A column of zeros counts as 1e-5.
    expect(smoothingScales(Float64Array.of(1), [tensor([0], [1, 1])], 0.5)[0]).toBeCloseTo(1e5 ** 0.5, 9)
  })
})

/** |x' W^T - x W^T|^2 with inputs rounded per token. */
const errorOf = (x: Tensor, weight: Tensor, bits: 4 | 8): number =>
  scope(() => linear(inputRounding({ bits })(x).sub(x), weight).square().sum().item())

/** H / sqrt(128) with random signs: D H / sqrt(n), by Sylvester's doubling. */
function rotation128(seed: number): Tensor {
  const n = 128
  const signs = randomStream(seed, 'signs').bernoulli(0.5, [n]).cast('f64').toArray()
  const parity = (i: number): number => (i === 0 ? 0 : (i & 1) ^ parity(i >> 1))
  const values = Float64Array.from({ length: n * n }, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n]
    return ((signs[row]! ? 1 : -1) * (parity(row & column) ? -1 : 1)) / Math.sqrt(n)
  })
  return tensor(values, [n, n], 'f64')
}

describe('inputs rounded per token, 3 of 128 being 20 times larger', () => {
  test.each([
    { bits: 8, most: 0.15 },
    { bits: 4, most: 0.3 },
  ] as const)(
    '$bits bits: smoothing and a rotation each leave at most $most of the error',
    ({ bits, most }) => {
      for (let seed = 0; seed < 3; seed++)
        scope(() => {
          const { weight, inputs } = plantedChannels(seed)
          const magnitudes = new InputMagnitudes(128)
          magnitudes.add(inputs)
          const scales = tensor(smoothingScales(magnitudes.largest, [weight], 0.5), [1, 128], 'f64')
          const q = rotation128(seed)
          const plain = errorOf(inputs, weight, bits)
          const smoothed = errorOf(inputs.div(scales), weight.mul(scales), bits)
          const rotated = errorOf(matmul(inputs, q), matmul(weight, q), bits)
          expect(smoothed / plain).toBeLessThanOrEqual(most)
          expect(rotated / plain).toBeLessThanOrEqual(most)
        })
    },
  )
})

test('an encoder, whose norms feed the residual too, is refused with another way', async () => {
  const open = openEncoder('bert-sentence')
  try {
    const failing = smoothquant(encoderWalk(open.model), samples)
    await expect(failing).rejects.toThrow(OptionError)
    await expect(failing).rejects.toThrow(/smoothquant scales.*feed its residual too; choose/)
  } finally {
    open.close()
  }
})
test('alpha lies between 0 and 1', async () => {
  for (const alpha of [-0.1, 1.1, Number.NaN])
    await expect(smoothquant({} as never, samples, { alpha })).rejects.toThrow(/^alpha must be.*usual/)
})
test('inputs that are always 0 are named; inputs and weights that are not finite are errors', async () => {
  await withModel('llama-tied', async ({ config, weights }) => {
    const name = 'model.layers.0.input_layernorm.weight'
    const norm = (value: number) =>
      memoryWeights(
        new Map(
          [...weights.infos.keys()].map((key) => {
            const weight = weights.load(key)
            if (key !== name) return [key, weight]
            const values = weight.toArray() as Float32Array
            values[3] = value
            return [key, tensor(values, weight.shape)]
          }),
        ),
      )
    const { notes, edits } = await smoothquant(new Llama(config, norm(0)), samples)
    expect(notes).toEqual(['model.layers.0.self_attn.q_proj.weight: 1 inputs are always 0'])
    for (const own of edits.values())
      for (const edit of own) if ('by' in edit) expect(edit.by.every(Number.isFinite)).toBe(true)
    const failing = smoothquant(new Llama(config, norm(Number.NaN)), samples)
    await expect(failing).rejects.toThrow(NumericalError)
    await expect(failing).rejects.toThrow(/q_proj\.weight: input 3 is NaN/)
  })
  expect(() =>
    smoothingScales(Float64Array.of(1), [tensor([Number.POSITIVE_INFINITY], [1, 1])], 0.5),
  ).toThrow(NumericalError)
})
