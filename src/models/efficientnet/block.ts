/** Convolutions with their batch norm folded in, and the inverted residual block of EfficientNet-Lite. */
import { foldNorm } from '../../nn/batch_norm_folding.ts'
import { type Sites, visit } from '../../nn/sites.ts'
import { conv2d, samePadding, scope, type Tensor } from '../../tensor/index.ts'
import type { ResourceHolder } from '../../tensor/scope.ts'
import type { ModelWeights } from '../model_weights.ts'
import type { ConvolutionName, NormPart } from './names.ts'

/** A convolution with the scale and shift of its norm inside its weight and bias. */
export class FoldedConvolution implements ResourceHolder {
  /** Name of the weight as in the model's file. */
  readonly name: string
  /** [out, kh, kw, in / groups] */
  readonly weight: Tensor
  /** [out] */
  readonly bias: Tensor
  readonly stride: number
  readonly groups: number

  constructor(
    { convolution, norm, stride, groups }: ConvolutionName,
    weights: ModelWeights,
    epsilon: number,
  ) {
    this.name = `${convolution}.weight`
    this.stride = stride
    this.groups = groups
    const of = (part: NormPart) => weights.load(`${norm}.${part}`)
    const { weight, bias } = scope(() => {
      const stored = weights.load(this.name).permute([0, 2, 3, 1])
      const numbers = { mean: of('running_mean'), variance: of('running_var') }
      return foldNorm(stored, undefined, { weight: of('weight'), bias: of('bias'), ...numbers }, epsilon)
    })
    this.weight = weight
    this.bias = bias
  }

  /** x [batch, height, width, in] -> [batch, ceil(height / stride), ceil(width / stride), out] */
  forward(x: Tensor): Tensor {
    const { weight, bias, stride, groups } = this
    const [top, bottom] = samePadding(x.extent(1), weight.extent(1), stride)
    const [left, right] = samePadding(x.extent(2), weight.extent(2), stride)
    return conv2d(x, weight, bias, { stride, groups, padding: [top, bottom, left, right] })
  }

  resources(): Iterable<unknown> {
    return [this.weight, this.bias]
  }
}

export const relu6 = (x: Tensor): Tensor => x.clamp({ min: 0, max: 6 })

export interface BlockConvolutions {
  expand?: FoldedConvolution
  depthwise: FoldedConvolution
  project: FoldedConvolution
}

export class InvertedResidual implements ResourceHolder {
  readonly index: number
  readonly convolutions: BlockConvolutions
  readonly residual: boolean

  constructor(index: number, convolutions: BlockConvolutions, residual: boolean) {
    this.index = index
    this.convolutions = convolutions
    this.residual = residual
  }

  /** Names of the sites of a block, in the order that a forward visits them. */
  static sites(index: number, expands: boolean): string[] {
    const inner = ['input', ...(expands ? ['expand'] : []), 'depthwise', 'project', 'output']
    return inner.map((name) => `block.${index}/${name}`)
  }

  /** x [batch, height, width, inputs] -> [batch, height', width', outputs] */
  forward(x: Tensor, at?: Sites): Tensor {
    const see = (site: string, y: Tensor) => visit(at, `block.${this.index}/${site}`, y)
    const { expand, depthwise, project } = this.convolutions
    const input = see('input', x)
    const wide = expand ? see('expand', relu6(expand.forward(input))) : input
    const filtered = see('depthwise', relu6(depthwise.forward(wide)))
    const narrow = see('project', project.forward(filtered))
    return see('output', this.residual ? input.add(narrow) : narrow)
  }

  resources(): Iterable<unknown> {
    return Object.values(this.convolutions)
  }
}
