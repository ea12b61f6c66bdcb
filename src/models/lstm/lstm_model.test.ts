import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Parameters } from '../../nn/parameters.ts'
import { expectNear, onNative, valuesOf } from '../../tensor/contract/claims.suite.ts'
import { FormatError, OptionError, ShapeError } from '../../tensor/errors.ts'
import {
  crossEntropy,
  elementCount,
  randomStream,
  type Shape,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from '../../tensor/index.ts'
import { freshWeights } from '../classifiers/fresh_weights.ts'
import { checkLstmConfig, type LstmConfig, lstmFromJson, lstmToJson } from './config.ts'
import { LstmLanguageModel } from './lstm_model.ts'

interface TorchValues {
  config: Pick<LstmConfig, 'embedding' | 'hidden' | 'layers' | 'tied'>
  logits: number[]
  loss: number
  hidden: number[]
  cell: number[]
  continued: number[]
  gradients: Record<string, number[]>
}
/** Made by bench/peers/torch_lstm.py. */
const torch: Record<string, TorchValues> = JSON.parse(
  readFileSync(new URL('torch_values.json', import.meta.url), 'utf8'),
)
const vocabulary = 7
const tokens = (offset: number): Tensor =>
  tensor(
    Array.from({ length: 10 }, (_, i) => (3 * Math.floor(i / 5) + 2 * (i % 5) + offset) % vocabulary),
    [2, 5],
    'u32',
  )
const eighths = (shape: Shape, seed: number): Tensor =>
  tensor(
    Array.from({ length: elementCount(shape) }, (_, i) => (((7 * i + 3 * seed + i * i) % 11) - 5) / 8),
    shape,
    'f64',
  )
const made = (config: LstmConfig, seed = 0) => {
  const parameters = new Parameters()
  return { parameters, model: new LstmLanguageModel(config, freshWeights(parameters, { seed })) }
}
const small: LstmConfig = { vocabulary, embedding: 4, hidden: 4, layers: 2, dropout: 0, tied: true }

describe.each(Object.entries(torch))('%s', (_, wanted) => {
  const config: LstmConfig = { ...wanted.config, vocabulary, dropout: 0 }
  /** With the weights of the script, which numbers them in the order of their names. */
  const followed = () => {
    const parameters = new Parameters()
    const model = new LstmLanguageModel(config, {
      weight: (path, shape) =>
        parameters.add(path, eighths(shape, Object.keys(wanted.gradients).indexOf(path))),
      buffer: (path, shape) => parameters.addBuffer(path, eighths(shape, 0)),
    })
    return { model, parameters }
  }
  // Some tens of roundings of numbers near 1.
  const tolerance = { units: 64, scale: 1 }

  test('logits, states and what follows are those of PyTorch', () => {
    onNative(() => {
      const { model, parameters } = followed()
      const first = model.forward(tokens(0))
      expectNear(first.logits, wanted.logits, tolerance)
      const flat = (part: 'hidden' | 'cell') => first.state.flatMap((state) => valuesOf(state[part]))
      for (const part of ['hidden', 'cell'] as const)
        expectNear(tensor(flat(part), [flat(part).length], 'f64'), wanted[part], tolerance)
      expectNear(model.forward(tokens(4), { state: first.state }).logits, wanted.continued, tolerance)
      parameters.dispose()
    })
  })
  test('gradients of all weights are those of PyTorch', () => {
    onNative(() => {
      const { model, parameters } = followed()
      const { value, gradients } = valueAndGrad(
        () => crossEntropy(model.logits(tokens(0)), tokens(1)),
        parameters.tensors(),
      )
      expectNear(value, [wanted.loss], tolerance)
      expect([...gradients.keys()].sort()).toEqual(Object.keys(wanted.gradients))
      for (const [path, gradient] of gradients) expectNear(gradient, wanted.gradients[path]!, tolerance)
      parameters.dispose()
    })
  })
})
test('it has the weights of its definition, and lists all matrices as layers', () => {
  onNative(() => {
    // Zaremba et al. 2014, "medium": 2 layers of 650 on 10,000 words, untied; 19.8 M, as Zhu and Gupta 2017 count.
    const shapes = new Map<string, Shape>()
    const nothing = tensor([0], [1])
    const { layers } = new LstmLanguageModel(
      { vocabulary: 10_000, embedding: 650, hidden: 650, layers: 2, dropout: 0.5, tied: false },
      {
        weight(path, shape) {
          shapes.set(path, shape)
          return nothing.expand(shape)
        },
        buffer: () => expect.fail('it has no buffers'),
      },
    )
    const sizes = [...shapes.values()].map(elementCount)
    expect(sizes.reduce((a, b) => a + b)).toBe(2 * 6_500_000 + 10_000 + 2 * (2 * 4 * 650 * 650 + 2 * 4 * 650))
    const matrices = [...shapes].filter(([, { length }]) => length > 1).map(([path]) => path)
    expect(layers.map(({ name }) => name)).toEqual(matrices)
  })
})
test('gates begin with a bias that forgets little', () => {
  onNative(() => {
    const { parameters } = made(small)
    const biases = ['ih', 'hh'].map((kind) => valuesOf(parameters.get(`lstm.bias_${kind}_l1`).tensor))
    expect(biases[0]).toEqual(Array.from({ length: 16 }, (_, i) => Number(i >= 4 && i < 8)))
    expect(biases[1]).toEqual(new Array(16).fill(0))
    parameters.dispose()
  })
})
test('visits its sites in the order that it tells', () => {
  onNative(() => {
    const { parameters, model } = made(small)
    const seen: string[] = []
    const watched = model.logits(tokens(0), { at: (site) => () => void seen.push(site) })
    expect(seen).toEqual(model.sites())
    expect(valuesOf(watched)).toEqual(valuesOf(model.logits(tokens(0))))
    parameters.dispose()
  })
})
test('dropout acts in training alone, and between the layers alone', () => {
  onNative(() => {
    const { parameters, model } = made({ ...small, dropout: 0.5 })
    const training = () => {
      const stream = randomStream(3, 'dropout')
      return { step: 0, stream: () => stream }
    }
    const dropped = training()
    const found = valuesOf(model.logits(tokens(0), { training: dropped }))
    expect(found).toEqual(valuesOf(model.logits(tokens(0), { training: training() })))
    expect(found).not.toEqual(valuesOf(model.logits(tokens(0))))
    // Three places of 2 x 5 x 4 numbers, none of them a state; a block holds four.
    expect(dropped.stream().position).toBe(30n)
    parameters.dispose()
  })
})
test('states of another number of texts, or of another width, are refused', () => {
  onNative(() => {
    const { parameters, model } = made(small)
    const states = (first: Shape, second: Shape) =>
      Array.from({ length: 2 }, () => ({ hidden: zeros(first), cell: zeros(second) }))
    expect(model.forward(tokens(0), { state: states([2, 4], [2, 4]) }).logits.shape).toEqual([2, 5, 7])
    for (const [first, second, wrong] of [
      [[1, 4], [1, 4], 'hidden'],
      [[2, 4], [1, 4], 'cell'],
      [[2, 4], [4], 'cell'],
      [[2, 1], [2, 4], 'hidden'],
    ] as const) {
      const forward = () => model.forward(tokens(0), { state: states(first, second) })
      expect(forward).toThrow(ShapeError)
      expect(forward).toThrow(`the ${wrong} state of layer 0 needs [2, 4]`)
    }
    parameters.dispose()
  })
})
test('shapes that cannot be are refused', () => {
  for (const wrong of [{ layers: 0 }, { hidden: 1.5 }, { dropout: 1 }, { embedding: 3 }])
    expect(() => checkLstmConfig({ ...small, ...wrong })).toThrow(OptionError)
  const json = lstmToJson(small)
  expect(lstmFromJson(json)).toEqual(small)
  for (const wrong of [
    { model_type: 'lstm' },
    { vocab_size: -1 },
    { dropout: 2 },
    { dropout: '0' },
    { embedding_size: 3 },
  ])
    expect(() => lstmFromJson({ ...json, ...wrong })).toThrow(FormatError)
  onNative(() => {
    const { parameters, model } = made(small)
    expect(() => model.logits(tokens(0).reshape([10]))).toThrow(/ids \[batch, tokens\]/)
    expect(() => model.forward(tokens(0), { state: [] })).toThrow(/states of 2 layers/)
    expect(() => model.logits(tensor([7], [1, 1], 'u32'))).toThrow(/7/)
    parameters.dispose()
  })
})
