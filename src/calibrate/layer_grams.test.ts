import { describe, expect, test } from 'vitest'
import { asset } from '../formats/tokenizer/assets.suite.ts'
import { freshWeights } from '../models/classifiers/fresh_weights.ts'
import { lenet } from '../models/classifiers/lenet.ts'
import { resnet } from '../models/classifiers/resnet.ts'
import { openEfficientNetLite0 } from '../models/efficientnet/efficientnet.ts'
import { Convolution } from '../nn/convolution.ts'
import { Linear } from '../nn/linear.ts'
import { Parameters } from '../nn/parameters.ts'
import { denseSource } from '../nn/weight_source.ts'
import { OptionError } from '../tensor/errors.ts'
import { matmul, randomStream, scope, type Tensor, tensor, unfold } from '../tensor/index.ts'
import { compressGroups, efficientNetLayers, layerGrams, type ObservedLayer } from './layer_grams.ts'
import type { LayerMethod } from './method.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const near = (found: Tensor, want: Tensor) => {
  const [values, expected] = [numbers(found), numbers(want)]
  const scale = Math.max(...expected.map(Math.abs))
  const farthest = values.reduce((most, x, i) => Math.max(most, Math.abs(x - expected[i]!)), 0)
  // Sums of some thousand products of f32.
  expect(farthest).toBeLessThan(1e-5 * scale)
  expect(values).toHaveLength(expected.length)
}

describe('the Gram matrices of a network', () => {
  test.each([
    [
      'LeNet',
      [16, 16, 1],
      (weights: ReturnType<typeof freshWeights>) =>
        lenet({ classes: 4, image: [16, 16, 1], convolutions: [3, 5], hidden: 6 }, weights),
    ],
    [
      'ResNet',
      [8, 8, 3],
      (weights: ReturnType<typeof freshWeights>) => resnet({ depth: 8, classes: 4, width: 4 }, weights),
    ],
  ] as const)(
    '%s: are those of the windows that its layers see, and its forward stays what it was',
    (_, image, make) => {
      const parameters = new Parameters()
      const network = make(freshWeights(parameters, { seed: 1 }))
      const stream = randomStream(0, 'images')
      const batches = [2, 3].map((count) => stream.normal([count, ...image]))
      const before = numbers(network.forward(batches[0]!))
      const inputs = new Map<string, { values: Float32Array; shape: readonly number[] }[]>()
      const grams = layerGrams(network.layers, (see) => {
        for (const x of batches) network.forward(x)
        expect(see).toBeInstanceOf(Function)
      })
      // The same inputs by hand, through the layers' own methods.
      for (const [name, layer] of network.layers) {
        const forward = layer.forward.bind(layer)
        layer.forward = (x: Tensor) => {
          // The tensor itself is freed with the scope of the forward.
          inputs.set(name, [
            ...(inputs.get(name) ?? []),
            { values: x.toArray() as Float32Array, shape: x.shape },
          ])
          return forward(x)
        }
      }
      for (const x of batches) network.forward(x, { at: () => undefined })
      for (const layer of network.layers.values()) delete (layer as Partial<typeof layer>).forward
      expect([...grams.keys()]).toEqual([...network.layers.keys()])
      for (const [name, layer] of network.layers) {
        const { groups, samples, uses, weight } = grams.get(name)!
        expect([samples, groups.length]).toEqual([5, 1])
        expect(numbers(weight)).toEqual(numbers(layer.source.dense()))
        const columns = inputs.get(name)!.map(({ values, shape }) => {
          const x = tensor(values, shape)
          if (layer instanceof Linear) return x
          const { kernel, ...options } = (layer as Convolution).geometry
          return unfold(x, kernel, options).squeeze(0)
        })
        near(
          groups[0]!.gram,
          columns.map((x) => matmul(x.transpose(), x)).reduce((a, b) => a.add(b)),
        )
        expect(groups[0]!.rows).toBe(columns.reduce((sum, x) => sum + x.extent(0), 0))
        expect(uses).toBe(groups[0]!.rows / 5)
      }
      expect(numbers(network.forward(batches[0]!))).toEqual(before)
      parameters.dispose()
    },
  )
})

test('a convolution in groups has a Gram matrix for each, which a method gets with its rows', () => {
  const stream = randomStream(1, 'groups')
  const weight = stream.normal([6, 3, 3, 2])
  const layer = new Convolution('conv.weight', denseSource(weight), { kernel: [3, 3], groups: 3, padding: 1 })
  const x = stream.normal([2, 5, 5, 6])
  const grams = layerGrams(new Map([['conv.weight', layer]]), () => void layer.forward(x)).get('conv.weight')!
  expect(grams.groups).toHaveLength(3)
  const columns = unfold(x, 3, { groups: 3, padding: 1 })
  for (const [group, { gram, rows }] of grams.groups.entries()) {
    const own = columns.select(0, group)
    near(gram, matmul(own.transpose(), own))
    expect(rows).toBe(50)
  }
  const seen: [string, number[], number][] = []
  const method: LayerMethod = {
    name: 'marks',
    needs: ['gram'],
    compress({ name, current, statistics }) {
      seen.push([name, [...current.shape], statistics.gram!.extent(0)])
      const decoded = current.mul(seen.length)
      return { source: denseSource(decoded), decoded, diagnostics: { notes: [] } }
    },
  }
  const { decoded, edits } = compressGroups(method, grams)
  expect(seen).toEqual([0, 1, 2].map((group) => [`conv.weight, group ${group}`, [2, 18], 18]))
  expect(edits).toHaveLength(3)
  expect(numbers(decoded)).toEqual(
    numbers(weight).map((value, i) => Math.fround(value * (1 + Math.floor(i / 36)))),
  )
})
test('a layer that no sample reached is named, and forwards are put back after a failure', () => {
  const stream = randomStream(2, 'layers')
  const [a, b] = ['a', 'b'].map((name) => new Linear(name, denseSource(stream.normal([2, 3]))))
  const layers = new Map([
    ['a', a!],
    ['b', b!],
  ])
  expect(() => layerGrams(layers, () => scope(() => void a!.forward(stream.normal([1, 3]))))).toThrow(
    OptionError,
  )
  expect(() =>
    layerGrams(layers, () => {
      throw new Error('stopped')
    }),
  ).toThrow('stopped')
  for (const layer of layers.values()) expect(Object.hasOwn(layer, 'forward')).toBe(false)
})
const efficientNet = asset('models/efficientnet-lite0/efficientnet-lite0-57934424.pth')
test.skipIf(!efficientNet)(
  'every layer of EfficientNet-Lite0 is reached, depthwise ones by channel, the classifier by its site (needs PARE_ASSETS)',
  () => {
    const { model, close } = openEfficientNetLite0(efficientNet!)
    scope(() => {
      const resident = model.load()
      const { layers, classifier } = efficientNetLayers(resident)
      const images = randomStream(0, 'images').uniform([2, 32, 32, 3]).mul(255)
      const all = new Map<string, ObservedLayer>([...layers, [classifier.name, classifier]])
      const grams = layerGrams(all, (see) => {
        const at = (site: string) =>
          site === 'features' ? (x: Tensor) => void see(classifier.name, x) : undefined
        resident.forward(images, { at })
      })
      expect(grams.size).toBe(all.size)
      for (const { weight, groups, samples } of grams.values()) {
        expect(samples).toBe(2)
        for (const { gram } of groups) expect(gram.shape).toEqual([weight.extent(1), weight.extent(1)])
      }
      const depthwise = resident.parts.blocks[0]!.convolutions.depthwise
      expect(grams.get(depthwise.name)!.groups).toHaveLength(32)
      expect(grams.get(classifier.name)!.uses).toBe(1)
      expect(grams.get(resident.parts.stem.name)!.uses).toBe(16 * 16)
    })
    close()
  },
)
