/** EfficientNet-Lite for images: its stages, sites and classifier over any store of weights. */
import { statSync } from 'node:fs'
import { openTorch } from '../../formats/torch/torch.ts'
import { type Sites, visit } from '../../nn/sites.ts'
import { globalAveragePool, linear, scope, type Tensor } from '../../tensor/index.ts'
import { finiteWeights } from '../finite_weights.ts'
import type { ModelWeights } from '../model_weights.ts'
import { storedWeights } from '../stored/stored_weights.ts'
import { checkWeightShape } from '../weight_shape.ts'
import { FoldedConvolution, InvertedResidual, relu6 } from './block.ts'
import { type EfficientNetConfig, efficientNetLite0, isResidual } from './config.ts'
import {
  blockNames,
  type ConvolutionName,
  classifierName,
  headName,
  promisedShapes,
  stemName,
} from './names.ts'

export class EfficientNet {
  readonly config: EfficientNetConfig
  readonly weights: ModelWeights

  /** @throws FormatError where a weight that the config promises is missing or has another shape. */
  constructor(config: EfficientNetConfig, weights: ModelWeights) {
    this.config = config
    this.weights = weights
    for (const [name, shape] of promisedShapes(config)) checkWeightShape(weights, name, shape)
  }

  /** Every site of the family, in the order that a forward visits them. */
  sites(): string[] {
    const blocks = this.config.blocks.flatMap(({ expansion }, i) =>
      InvertedResidual.sites(i, expansion !== 1),
    )
    return ['pixels', 'stem', ...blocks, 'head', 'features', 'logits']
  }

  /** All stages in memory. The caller's scope owns them. */
  load(): ResidentEfficientNet {
    const folded = (name: ConvolutionName) =>
      new FoldedConvolution(name, this.weights, this.config.normEpsilon)
    const blocks = this.config.blocks.map((block, index) => {
      const { expand, depthwise, project } = blockNames(this.config, index)
      const convolutions = {
        ...(expand ? { expand: folded(expand) } : {}),
        depthwise: folded(depthwise),
        project: folded(project),
      }
      return new InvertedResidual(index, convolutions, isResidual(block))
    })
    return new ResidentEfficientNet(this.config, {
      stem: folded(stemName(this.config)),
      blocks,
      head: folded(headName(this.config)),
      classifier: {
        weight: this.weights.load(`${classifierName}.weight`),
        bias: this.weights.load(`${classifierName}.bias`),
      },
    })
  }
}

interface Parts {
  stem: FoldedConvolution
  blocks: readonly InvertedResidual[]
  head: FoldedConvolution
  classifier: { weight: Tensor; bias: Tensor }
}

/** A model whose weights are all in memory. */
export class ResidentEfficientNet {
  readonly config: EfficientNetConfig
  readonly parts: Parts

  constructor(config: EfficientNetConfig, parts: Parts) {
    this.config = config
    this.parts = parts
  }

  /**
   * Logits [batch, classes] of images [batch, height, width, 3] with colours from 0 to 255 in f32. Any size will do; the
   * model was trained on `config.imageSize`.
   *
   * @example const best = resident.forward(images).argmax(-1)
   */
  forward(images: Tensor, { at }: { at?: Sites } = {}): Tensor {
    const { stem, blocks, head, classifier } = this.parts
    const { mean, deviation } = this.config.colours
    return scope(() => {
      let x = visit(at, 'pixels', images.sub(mean).div(deviation))
      x = visit(at, 'stem', relu6(stem.forward(x)))
      // A hook may keep tensors of one block until a later one; without hooks each block gives back its memory.
      for (const block of blocks) x = at ? block.forward(x, at) : scope(() => block.forward(x))
      x = visit(at, 'head', relu6(head.forward(x)))
      const features = visit(at, 'features', globalAveragePool(x)) // [batch, features]
      return visit(at, 'logits', linear(features, classifier.weight, classifier.bias))
    })
  }

  resources(): Iterable<unknown> {
    const { stem, blocks, head, classifier } = this.parts
    return [stem, ...blocks, head, classifier.weight, classifier.bias]
  }
}

/**
 * Opens EfficientNet-Lite0 from a file of torch, which has no config.
 *
 * @throws FormatError where the file holds another model.
 * @example const { model, close } = openEfficientNetLite0('efficientnet-lite0-57934424.pth')
 */
export function openEfficientNetLite0(path: string): { model: EfficientNet; close(): void } {
  const weights = finiteWeights(storedWeights(openTorch(path), statSync(path).size))
  try {
    return { model: new EfficientNet(efficientNetLite0, weights), close: () => weights.close() }
  } catch (error) {
    weights.close()
    throw error
  }
}
