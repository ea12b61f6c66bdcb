/**
 * OBC on ResNet-20 of the zoo, in one shot to 50, 75 and 90% zeros and to 4, 3 and 2 bits: accuracy on held-out digits, with
 * the statistics of the batch norms as they were and estimated anew on the calibration images.
 *
 * All convolutions behind the first are compressed, each on its own Gram matrix of the network in floats.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compressGroups, type LayerGrams, layerGrams } from '#src/calibrate/layer_grams.ts'
import type { LayerMethod } from '#src/calibrate/method.ts'
import { digitsData, type Split } from '#src/data/assets/digits.ts'
import { texturedDigits } from '#src/data/assets/textured_digits.ts'
import { type ImageSet, imageExamples, pickImages } from '#src/data/image_set.ts'
import { type LoadedClassifier, loadClassifier } from '#src/models/classifiers/load_classifier.ts'
import type { Classifier } from '#src/models/classifiers/network.ts'
import { estimateStatistics } from '#src/nn/batch_norm_estimation.ts'
import type { Convolution } from '#src/nn/convolution.ts'
import { denseSource } from '#src/nn/weight_source.ts'
import { exactObs } from '#src/prune/exact_obs.ts'
import { oneShotMagnitude } from '#src/prune/one_shot_magnitude.ts'
import { sparsegpt } from '#src/prune/sparsegpt.ts'
import { train } from '#src/run/training/train.ts'
import { randomStream, scope, type Tensor } from '#src/tensor/index.ts'
import { zooModel } from './models/zoo.ts'
import { damping, type MethodName, methodOf, rowGrid } from './obc_methods.ts'

export type Level =
  | { bits: 2 | 3 | 4 }
  /** Share of zeros in each convolution. */
  | { zeros: number }

export interface ClassifierSetup {
  /** Of the zoo; `small` is trained for some seconds on 8 x 8 digits. */
  network: 'resnet-20' | 'small'
  /** Images to calibrate on. */
  images: number
}

export interface ClassifierScores {
  /** Bits a weight, with scales, zeros and masks. */
  storedBits: number
  /** Share of the held-out images whose class is the most likely one. */
  accuracy: number
  /** The same with the statistics of the norms estimated anew. */
  accuracyEstimated: number
  /** Of the floats. */
  accuracyFloats: number
  heldOut: number
}

/** The networks that are open, with their data. */
const opened = new Map<string, Promise<{ loaded: LoadedClassifier; data: Split }>>()

export async function scoreClassifier(
  { network, images }: ClassifierSetup,
  { method, level, seed }: { method: MethodName; level: Level; seed: number },
  assets: string,
): Promise<ClassifierScores> {
  const known = opened.get(network) ?? openNetwork(network, assets)
  opened.set(network, known)
  const { loaded, data } = await known
  const { classifier, parameters } = loaded
  return scope(() => {
    const [{ inputs }] = batchesOf(drawn(data.train, images, seed), loaded, images) as [ImageBatch]
    const tested = batchesOf(data.heldOut, loaded, 250)
    const convolutions = new Map(
      [...classifier.layers].filter(([name]) => !['stem.conv.weight', 'head.weight'].includes(name)),
    ) as ReadonlyMap<string, Convolution>
    const accuracyFloats = accuracyOf(classifier, tested)
    const grams = layerGrams(convolutions, () => scope(() => void classifier.forward(inputs)))
    const [before, sources] = [parameters.state(), [...convolutions].map(([, { source }]) => source)]
    try {
      let [bits, size] = [0, 0]
      for (const layer of grams.values()) {
        const { decoded, storedBits } = compressed(layer, method, level)
        convolutions.get(layer.name)!.source = denseSource(decoded)
        bits += storedBits
        size += layer.weight.size
      }
      const accuracy = accuracyOf(classifier, tested)
      estimateStatistics(classifier.norms, () =>
        scope(() => void classifier.forward(inputs, { training: true })),
      )
      const accuracyEstimated = accuracyOf(classifier, tested)
      return {
        storedBits: bits / size,
        accuracy,
        accuracyEstimated,
        accuracyFloats,
        heldOut: data.heldOut.count,
      }
    } finally {
      for (const [i, layer] of [...convolutions.values()].entries()) layer.source = sources[i]!
      parameters.load(before)
    }
  })
}

function compressed(
  layer: LayerGrams,
  method: MethodName,
  level: Level,
): { decoded: Tensor; storedBits: number } {
  return scope(() => {
    const grid = 'bits' in level ? rowGrid(level.bits) : undefined
    const { decoded, edits } = compressGroups(methodAt(method, level), layer, grid)
    return { decoded, storedBits: edits.reduce((sum, { source }) => sum + source.size().storedBits, 0) }
  })
}

/** Any share of zeros; those that round are the ones of the other networks, which look at no share. */
function methodAt(name: MethodName, level: Level): LayerMethod {
  if ('bits' in level) return methodOf(name, '4 bits', 1)
  const zeros = { sparsity: level.zeros }
  if (name === 'magnitude') return oneShotMagnitude(zeros)
  return name === 'obs' ? exactObs({ ...zeros, damping }) : sparsegpt({ ...zeros, damping })
}

interface ImageBatch {
  inputs: Tensor
  labels: Tensor
}

function batchesOf(set: ImageSet, { config }: LoadedClassifier, most: number): ImageBatch[] {
  const examples = imageExamples(set, { normalise: config.normalise })
  return Array.from({ length: Math.ceil(set.count / most) }, (_, i) => {
    const ids = Uint32Array.from({ length: Math.min(most, set.count - i * most) }, (_, k) => i * most + k)
    return examples.batch(ids, randomStream(0, 'images')) as ImageBatch
  })
}

function accuracyOf(classifier: Classifier, batches: readonly ImageBatch[]): number {
  let [right, count] = [0, 0]
  for (const { inputs, labels } of batches)
    scope(() => {
      right += classifier.forward(inputs).argmax(-1).equal(labels).cast('f64').sum().item()
      count += inputs.extent(0)
    })
  return right / count
}

function drawn(set: ImageSet, count: number, seed: number): ImageSet {
  const order = scope(() => randomStream(seed, 'images to calibrate').permutation(set.count).toArray())
  return pickImages(set, Array.from(order, Number).slice(0, count))
}

async function openNetwork(
  name: ClassifierSetup['network'],
  assets: string,
): Promise<{ loaded: LoadedClassifier; data: Split }> {
  if (name === 'resnet-20')
    return {
      loaded: loadClassifier(await zooModel(name, { assets })),
      data: await texturedDigits({ assets }),
    }
  const folder = mkdtempSync(join(tmpdir(), 'pare-classifier-'))
  try {
    const output = join(folder, 'network')
    await train({
      pare: 1,
      output,
      seed: 0,
      train: {
        model: { family: 'resnet', depth: 8, width: 8 },
        data: { kind: 'digits', assets },
        ...{ batch: 64, epochs: 4 },
        optimiser: { name: 'adamw', rate: 5e-3, schedule: { name: 'cosine', warmUp: 10 } },
      },
    })
    return { loaded: loadClassifier(output), data: digitsData({ assets }) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
