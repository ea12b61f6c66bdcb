import { describe, expect, test } from 'vitest'
import { Parameters } from '../../nn/parameters.ts'
import { exactTensor, onNative, valuesOf } from '../../tensor/contract/claims.suite.ts'
import { OptionError } from '../../tensor/errors.ts'
import { crossEntropy, type Shape, tensor, valueAndGrad } from '../../tensor/index.ts'
import type { WeightMaker } from '../weight_maker.ts'
import { freshWeights } from './fresh_weights.ts'
import { lenet } from './lenet.ts'
import { mlp } from './mlp.ts'
import type { Classifier } from './network.ts'
import { resnet } from './resnet.ts'

const networks: Record<
  string,
  readonly [make: (weights: WeightMaker) => Classifier, image: Shape, count: number]
> = {
  // 0.27 M in Table 6 of the paper.
  'ResNet-20': [(weights) => resnet({ depth: 20, classes: 10 }, weights), [32, 32, 3], 269_722],
  'ResNet-8': [(weights) => resnet({ depth: 8, classes: 10, width: 8 }, weights), [16, 16, 3], 19_218],
  // 520 + 25,050 + 2450 * 500 + 500 + 5,010
  LeNet: [(weights) => lenet({ classes: 10 }, weights), [28, 28, 1], 1_256_080],
  MLP: [(weights) => mlp({ widths: [64, 32, 10] }, weights), [8, 8], 64 * 32 + 32 + 320 + 10],
}

describe.each(Object.entries(networks))('%s', (_, [make, image, count]) => {
  const made = (seed = 0) => {
    const parameters = new Parameters()
    return { parameters, net: make(freshWeights(parameters, { seed })) }
  }
  test('has the weights of its definition, and lists its layers by their names', () => {
    onNative(() => {
      const { parameters, net } = made()
      const sizes = [...parameters.tensors().values()].map(({ size }) => size)
      expect(sizes.reduce((a, b) => a + b, 0)).toBe(count)
      for (const [name, layer] of net.layers) {
        expect([layer.name, parameters.has(name)]).toEqual([name, true])
        expect(layer.source.shape[0] * layer.source.shape[1]).toBe(parameters.get(name).tensor.size)
      }
      parameters.dispose()
    })
  })
  test('visits its sites in the order that it tells', () => {
    onNative(() => {
      const { parameters, net } = made()
      const seen: string[] = []
      const x = exactTensor([2, ...image])
      const watched = net.forward(x, { at: (site) => () => void seen.push(site) })
      expect(seen).toEqual(net.sites())
      expect(valuesOf(watched)).toEqual(valuesOf(net.forward(x)))
      expect(watched.shape).toEqual([2, 10])
      parameters.dispose()
    })
  })
  test('gives every weight a gradient, and the same weights for the same seed only', () => {
    onNative(() => {
      const { parameters, net } = made()
      const [x, labels] = [exactTensor([3, ...image]), tensor([1, 0, 7], [3], 'u32')]
      const { gradients } = valueAndGrad(
        () => crossEntropy(net.forward(x, { training: true }), labels),
        parameters.tensors(),
      )
      for (const [path, gradient] of gradients) expect(gradient.abs().sum().item(), path).toBeGreaterThan(0)
      const [again, other] = [made(0), made(1)]
      const bytes = (all: Parameters) =>
        [...all.tensors().values()].map((x) => Buffer.from(x.bytes()).toString('base64'))
      expect(bytes(again.parameters)).toEqual(bytes(parameters))
      expect(bytes(other.parameters)).not.toEqual(bytes(parameters))
      for (const all of [parameters, again.parameters, other.parameters]) all.dispose()
    })
  })
})

test('shapes that cannot be are refused', () => {
  const weights = freshWeights(new Parameters(), { seed: 0 })
  expect(() => resnet({ depth: 21, classes: 10 }, weights)).toThrow(OptionError)
  expect(() => lenet({ classes: 10, image: [30, 28, 1] }, weights)).toThrow(/multiples of 4/)
  expect(() => mlp({ widths: [10] }, weights)).toThrow(OptionError)
  expect(() => mlp({ widths: Array(1003).fill(2) }, weights)).toThrow(
    /at most 1000 hidden layers are made, got 1001/,
  )
})
test.each([0, -4, 1.5, Number.NaN, 2 ** 31])(
  'a width of %f is refused by its name before a weight is made',
  (wrong) => {
    const weights: WeightMaker = {
      weight: () => expect.fail('a weight'),
      buffer: () => expect.fail('a buffer'),
    }
    const refuse = (make: () => unknown, name: string) => {
      expect(make, name).toThrow(OptionError)
      const found = String(wrong)
      expect(make).toThrow(`${name} needs a whole number from 1 to 2^31 - 1, got ${found}`)
    }
    for (const name of ['width', 'channels', 'classes'])
      refuse(() => resnet({ depth: 8, classes: 10, [name]: wrong }, weights), name)
    for (const name of ['hidden', 'classes'])
      refuse(() => lenet({ classes: 10, [name]: wrong }, weights), name)
    refuse(() => lenet({ classes: 10, convolutions: [5, wrong] }, weights), 'convolutions[1]')
    refuse(() => lenet({ classes: 10, image: [wrong, 4, 1] }, weights), 'height')
    refuse(() => lenet({ classes: 10, image: [4, 4, wrong] }, weights), 'channels')
    refuse(() => mlp({ widths: [10, wrong, 2] }, weights), 'widths[1]')
  },
)
