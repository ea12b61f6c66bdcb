/**
 * The part of the OBC experiment on EfficientNet-Lite0: classes of random crops beside those of the floats. Batch norms are
 * folded into the convolutions before anything is compressed, and their statistics are not taken anew.
 */
import { join } from 'node:path'
import { efficientNetLayers, type LayerGrams, layerGrams } from '#src/calibrate/layer_grams.ts'
import { heldOutPhotographs, readPhotographs, trainingPhotographs } from '#src/data/assets/photographs.ts'
import type { FoldedConvolution } from '#src/models/efficientnet/block.ts'
import { openEfficientNetLite0, type ResidentEfficientNet } from '#src/models/efficientnet/efficientnet.ts'
import { logSoftmax, scope, type Tensor, tensor } from '#src/tensor/index.ts'
import { batchOf, randomCrops } from './random_crops.ts'

export interface ImageSetup {
  /** Crops to calibrate on, and to test with, of other pictures. */
  crops: number
  tests: number
  /** Side of a crop in pixels. */
  size: number
}

export interface ImageScores {
  /** Share of crops whose likeliest class is that of the floats. */
  top1: number
  /** Mean over crops, in nats, from the floats to the result. */
  kl: number
}

/** Which weights are compressed; the classifier stays as it is. */
export const imageMatrices = {
  'of all convolutions': () => true,
  'of blocks 0 to 3': (name: string) => /^_blocks\.[0-3]\./.test(name),
} as const
export type ImageMatrices = keyof typeof imageMatrices

export interface ImageLab {
  network: ResidentEfficientNet
  convolutions: ReadonlyMap<string, FoldedConvolution>
  layers: readonly LayerGrams[]
  crops: readonly Uint8Array[]
  size: number
  /** Logits of the floats, batch by batch. */
  floats: readonly Float32Array[]
}

/** Crops that run through the network at once. */
const batch = 20

export async function openImages(
  assets: string,
  { crops, tests, size }: ImageSetup,
  matrices: ImageMatrices,
  seed: number,
): Promise<ImageLab> {
  const { model, close } = openEfficientNetLite0(
    join(assets, 'models/efficientnet-lite0/efficientnet-lite0-57934424.pth'),
  )
  const network = model.load()
  close()
  const all = efficientNetLayers(network).layers
  const convolutions = new Map([...all].filter(([name]) => imageMatrices[matrices](name)))
  const [own, others] = [
    await readPhotographs(assets, trainingPhotographs),
    await readPhotographs(assets, heldOutPhotographs),
  ]
  const drawn = randomCrops(own, { count: crops, size, seed, name: 'crops to calibrate' })
  const grams = layerGrams(convolutions, () => {
    for (const part of batches(drawn)) scope(() => void network.forward(batchOf(part, size)))
  })
  const tested = randomCrops(others, { count: tests, size, seed: 0, name: 'crops to test' })
  const lab = { network, convolutions, layers: [...grams.values()], crops: tested, size }
  return { ...lab, floats: logitsOf(lab) }
}

/** Scores of the network with some weights exchanged, which are put back. */
export function scoreImages(lab: ImageLab, weights: ReadonlyMap<string, Tensor>): ImageScores {
  const before = new Map<FoldedConvolution, Tensor>()
  try {
    for (const [name, weight] of weights) {
      const layer = lab.convolutions.get(name)!
      before.set(layer, layer.weight)
      Object.assign(layer, { weight: weight.reshape(layer.weight.shape) })
    }
    return compareLogits(logitsOf(lab), lab.floats, lab.network.config.classes)
  } finally {
    for (const [layer, weight] of before) Object.assign(layer, { weight })
  }
}

/** @param floats logits of the same crops, batch by batch */
export function compareLogits(
  found: readonly Float32Array[],
  floats: readonly Float32Array[],
  classes: number,
): ImageScores {
  let [agreed, kl, crops] = [0, 0, 0]
  for (const [i, wanted] of floats.entries())
    scope(() => {
      const [own, expected] = [found[i]!, wanted].map((x) => tensor(x, [x.length / classes, classes]))
      const [best, likeliest] = [own!, expected!].map((x) => Array.from(x.argmax(-1).toArray(), Number))
      agreed += best!.filter((name, k) => name === likeliest![k]).length
      const log = logSoftmax(expected!)
      kl += Number(
        log
          .exp()
          .mul(log.sub(logSoftmax(own!)))
          .sum()
          .item(),
      )
      crops += best!.length
    })
  return { top1: agreed / crops, kl: kl / crops }
}

const logitsOf = ({ network, crops, size }: Pick<ImageLab, 'network' | 'crops' | 'size'>): Float32Array[] =>
  batches(crops).map((part) => scope(() => network.forward(batchOf(part, size)).toArray() as Float32Array))

const batches = (crops: readonly Uint8Array[]): (readonly Uint8Array[])[] =>
  Array.from({ length: Math.ceil(crops.length / batch) }, (_, i) => crops.slice(i * batch, (i + 1) * batch))
