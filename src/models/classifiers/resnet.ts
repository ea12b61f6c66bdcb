/**
 * Residual networks for small images (He et al. 2016, arXiv:1512.03385, section 4.2): a 3 x 3 convolution, three stages of
 * n blocks with widths w, 2w and 4w at full, half and quarter resolution, global average pooling, one linear layer. The
 * depth is 6n + 2. Where a stage begins with a stride, the identity is subsampled and padded with zero channels (option A),
 * so that shortcuts have no weights.
 */
import { BatchNorm } from '../../nn/batch_norm.ts'
import { Convolution } from '../../nn/convolution.ts'
import { Linear } from '../../nn/linear.ts'
import { anyAsked, type Sites, visit } from '../../nn/sites.ts'
import { denseSource } from '../../nn/weight_source.ts'
import { OptionError } from '../../tensor/errors.ts'
import { relu, scope, type Tensor } from '../../tensor/index.ts'
import type { WeightMaker } from '../weight_maker.ts'
import type { Classifier, ForwardOptions } from './network.ts'
import { checkWidths } from './widths.ts'

export interface ResnetOptions {
  /** 6n + 2: 8, 14, 20, 56. */
  depth: number
  classes: number
  /** Channels of the images. @default 3 */
  channels?: number
  /** Channels of the first stage. @default 16 */
  width?: number
}

/** @throws OptionError for a depth that is not 6n + 2, and for widths that are no whole numbers from 1 on */
export function checkResnet({ depth, classes, channels = 3, width = 16 }: ResnetOptions): void {
  const blocks = (depth - 2) / 6
  if (!(Number.isInteger(blocks) && blocks >= 1))
    throw new OptionError(`resnet: the depth must be 6n + 2, such as 8, 20 or 56, got ${depth}`)
  checkWidths('resnet', { width, channels, classes })
}

interface Block {
  name: string
  first: Convolution
  firstNorm: BatchNorm
  second: Convolution
  secondNorm: BatchNorm
  stride: number
}

/**
 * x [batch, height, width, channels] -> logits [batch, classes]. Weights are called as in
 * `stages.0.0.conv1.weight`, `stages.0.0.norm1.weight`, `stem.conv.weight`, `head.weight`.
 *
 * @throws OptionError for shapes that cannot be, as `checkResnet` says
 * @example resnet({ depth: 20, classes: 10 }, freshWeights(parameters, { seed: 0 })).forward(x, { training: true })
 */
export function resnet(options: ResnetOptions, weights: WeightMaker): Classifier {
  checkResnet(options)
  const { depth, classes, channels = 3, width = 16 } = options
  const blocks = (depth - 2) / 6
  const layers = new Map<string, Linear | Convolution>()
  const convolution = (name: string, inputs: number, outputs: number, stride = 1): Convolution => {
    const weight = weights.weight(`${name}.weight`, [outputs, 3, 3, inputs], {
      kind: 'he',
      fanIn: 9 * inputs,
    })
    const layer = new Convolution(`${name}.weight`, denseSource(weight), {
      kernel: [3, 3],
      stride,
      padding: 1,
    })
    layers.set(layer.name, layer)
    return layer
  }
  const norms: BatchNorm[] = []
  const norm = (name: string, size: number): BatchNorm => {
    const made = new BatchNorm({
      weight: weights.weight(`${name}.weight`, [size], { kind: 'constant', value: 1 }),
      bias: weights.weight(`${name}.bias`, [size], { kind: 'constant', value: 0 }),
      runningMean: weights.buffer(`${name}.running_mean`, [size], 0),
      runningVariance: weights.buffer(`${name}.running_var`, [size], 1),
    })
    norms.push(made)
    return made
  }
  const stem = convolution('stem.conv', channels, width)
  const stemNorm = norm('stem.norm', width)
  const stages = [0, 1, 2].flatMap((stage) =>
    Array.from({ length: blocks }, (_, block): Block => {
      const name = `stages.${stage}.${block}`
      const outputs = width * 2 ** stage
      const entry = block === 0 && stage > 0
      const stride = entry ? 2 : 1
      return {
        name,
        stride,
        first: convolution(`${name}.conv1`, entry ? outputs / 2 : outputs, outputs, stride),
        firstNorm: norm(`${name}.norm1`, outputs),
        second: convolution(`${name}.conv2`, outputs, outputs),
        secondNorm: norm(`${name}.norm2`, outputs),
      }
    }),
  )
  const features = 4 * width
  const head = new Linear(
    'head.weight',
    denseSource(weights.weight('head.weight', [classes, features], { kind: 'lecun', fanIn: features })),
    weights.weight('head.bias', [classes], { kind: 'constant', value: 0 }),
  )
  layers.set(head.name, head)
  return {
    layers,
    norms,
    sites: () => ['stem', ...stages.flatMap(({ name }) => sitesOf(name)), 'pooled', 'logits'],
    forward(x, { training = false, at }: ForwardOptions = {}) {
      const mode = training ? 'batch' : 'running'
      return scope(() => {
        let hidden = visit(at, 'stem', stemNorm.forward(stem.forward(x), mode, { activation: 'relu' }))
        for (const block of stages) {
          const before = hidden
          // A hook may keep tensors of one block until a later one.
          const run = () => runBlock(block, before, mode, at)
          hidden = at ? run() : scope(run)
        }
        return visit(at, 'logits', head.forward(visit(at, 'pooled', hidden.mean([1, 2]))))
      })
    },
  }
}

const sitesOf = (name: string) => [`${name}/act1`, `${name}/sum`, `${name}/output`]

function runBlock(block: Block, x: Tensor, mode: 'batch' | 'running', at: Sites | undefined): Tensor {
  const { name, first, firstNorm, second, secondNorm, stride } = block
  const inner = visit(at, `${name}/act1`, firstNorm.forward(first.forward(x), mode, { activation: 'relu' }))
  const [outer, residual] = [second.forward(inner), shortcut(x, stride)]
  const output = anyAsked(at, [`${name}/sum`])
    ? relu(visit(at, `${name}/sum`, secondNorm.forward(outer, mode, { residual })))
    : secondNorm.forward(outer, mode, { residual, activation: 'relu' })
  return visit(at, `${name}/output`, output)
}

/** Every second pixel, with the new channels behind the old ones. */
function shortcut(x: Tensor, stride: number): Tensor {
  if (stride === 1) return x
  const channels = x.extent(-1)
  return x
    .slice(1, 0, undefined, stride)
    .slice(2, 0, undefined, stride)
    .place(2 * channels, { axis: -1 })
}
