import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openOnnx } from '../../formats/onnx/onnx.ts'
import { foldNorm } from '../../nn/batch_norm_folding.ts'
import { randomStream, scope, type Tensor } from '../../tensor/index.ts'
import type { ClassifierShape } from '../classifiers/classifier_config.ts'
import { freshClassifier } from '../classifiers/load_classifier.ts'
import { efficientNetLite0 } from '../efficientnet/config.ts'
import { EfficientNet } from '../efficientnet/efficientnet.ts'
import { promisedShapes } from '../efficientnet/names.ts'
import { memoryWeights } from '../memory_weights.ts'
import { planOnnx } from '../write/onnx_target.ts'
import { classifierImages, efficientNetImages, type ImageModel } from './image_sources.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onnx-images-test-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function written({ source, weights }: ImageModel, name: string) {
  const target = join(folder, name)
  const plan = planOnnx(source)
  mkdirSync(target)
  const writer = plan.create(target)
  for (const tensor of plan.tensors)
    for (const part of scope(() => plan.encodeNumbers(tensor, weights.load(tensor.name))))
      writer.append(part.name, part.bytes)
  writer.finish()
  return { plan, target, archive: openOnnx(join(target, 'model.onnx')) }
}

const numbersOf = (archive: ReturnType<typeof openOnnx>, name: string) =>
  new Float32Array(archive.read(name).slice().buffer)
const listOf = (x: Tensor) => x.contiguous().toArray()

const fresh = (shape: ClassifierShape, image: [number, number, number]) =>
  freshClassifier({
    ...{ shape, image, classes: ['cat', 'dog'] },
    normalise: { mean: Array(image[2]).fill(0.5), deviation: Array(image[2]).fill(0.25) },
  })

test('norms of a residual network are in its convolutions, whose inputs come second', () => {
  scope(() => {
    const network = fresh({ family: 'resnet', depth: 8, width: 4 }, [8, 8, 3])
    const { parameters } = network
    for (const path of parameters.states().keys())
      if (path.includes('norm'))
        parameters.update(path, (state) => state.assign(randomStream(1, path).uniform(state.shape).add(0.5)))
    const { archive, plan } = written(classifierImages(network), 'resnet')
    const of = (path: string) => parameters.get(path).state.tensor()
    const name = 'stages.1.0.conv1.weight'
    expect(archive.tensors.get(name)!.shape).toEqual([8, 4, 3, 3])
    const norm = 'stages.1.0.norm1'
    const numbers = { mean: of(`${norm}.running_mean`), variance: of(`${norm}.running_var`) }
    const own = { weight: of(`${norm}.weight`), bias: of(`${norm}.bias`), ...numbers }
    const folded = foldNorm(of(name).permute([0, 3, 1, 2]), undefined, own, 1e-5)
    expect(numbersOf(archive, name)).toEqual(listOf(folded.weight))
    expect(numbersOf(archive, `${norm}.bias`)).toEqual(listOf(folded.bias))
    expect([...archive.tensors.keys()].some((path) => /running|norm1\.weight/.test(path))).toBe(false)
    expect(plan.notes).toEqual([])
    archive.close()
    parameters.dispose()
  })
})

test('a classifier takes normalised pixels with channels second, and names its classes', () => {
  const network = fresh({ family: 'lenet', convolutions: [2, 3], hidden: 5 }, [8, 12, 1])
  const { archive, target } = written(classifierImages(network), 'lenet')
  archive.close()
  const { inputs, outputs } = archive.parsed.model.graph
  expect(inputs).toEqual([{ name: 'pixel_values', type: 'F32', shape: ['batch_size', 1, 8, 12] }])
  expect(outputs).toEqual([{ name: 'logits', type: 'F32', shape: ['batch_size', 2] }])
  const read = (file: string) => JSON.parse(readFileSync(join(target, file), 'utf8'))
  expect(read('config.json').id2label).toEqual({ 0: 'cat', 1: 'dog' })
  expect(read('preprocessor_config.json')).toMatchObject({ image_mean: [0.5], image_std: [0.25] })
  network.parameters.dispose()
})

test('weights of linear layers are the same numbers, also behind convolutions', () => {
  const network = fresh({ family: 'lenet', convolutions: [2, 3], hidden: 5 }, [8, 8, 1])
  const { archive } = written(classifierImages(network), 'linear')
  scope(() => {
    for (const name of ['fc1.weight', 'fc1.bias', 'fc2.weight'])
      expect(numbersOf(archive, name)).toEqual(listOf(network.parameters.get(name).state.tensor()))
  })
  archive.close()
  network.parameters.dispose()
})

test('EfficientNet-Lite0 has a convolution for each of its names, two of which belong to no block', () => {
  scope(() => {
    const config = { ...efficientNetLite0, features: 8, classes: 3 }
    const shapes = [...promisedShapes(config)]
    const weights = memoryWeights(
      new Map(shapes.map(([name, shape]) => [name, randomStream(2, name).uniform(shape).add(0.5)])),
    )
    const { archive } = written(efficientNetImages(new EfficientNet(config, weights)), 'efficientnet')
    const { nodes, inputs } = archive.parsed.model.graph
    const convolutions = nodes.filter(({ opType }) => opType === 'Conv')
    // 16 blocks, of which the first has no widening convolution.
    expect(convolutions).toHaveLength(3 * 16 - 1 + 2)
    for (const { attributes } of convolutions)
      expect(attributes.get('auto_pad')).toEqual({ kind: 'string', value: 'SAME_UPPER' })
    expect(inputs[0]!.shape).toEqual(['batch_size', 3, 'height', 'width'])
    archive.close()
  })
})

test('some rows of a weight that a norm goes into are refused', () => {
  scope(() => {
    const network = fresh({ family: 'resnet', depth: 8, width: 4 }, [8, 8, 3])
    const { source, weights } = classifierImages(network)
    const plan = planOnnx(source)
    const tensor = plan.tensors.find(({ name }) => name === 'stem.conv.weight')!
    expect(() => plan.encodeNumbers(tensor, weights.slice('stem.conv.weight', 0, 2))).toThrow(
      /folded as a whole/,
    )
    network.parameters.dispose()
  })
})
