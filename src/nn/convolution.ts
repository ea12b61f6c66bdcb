/** A convolutional layer over an exchangeable weight source. */
import { type ConvolutionOptions, conv2d, scope, type Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'
import type { WeightSource } from './weight_source.ts'

export interface ConvolutionGeometry extends Omit<ConvolutionOptions, 'activation'> {
  /** Height and width of the window. */
  kernel: readonly [number, number]
}

export class Convolution implements ResourceHolder {
  /** Name of the weight, e.g. `stages.0.0.conv1.weight`. */
  readonly name: string
  /** [out, kh * kw * in / groups]: the windows, row by row, with the channels last. */
  source: WeightSource
  /** [out] */
  readonly bias: Tensor | undefined
  readonly geometry: ConvolutionGeometry

  constructor(name: string, source: WeightSource, geometry: ConvolutionGeometry, bias?: Tensor) {
    this.name = name
    this.source = source
    this.geometry = geometry
    this.bias = bias
  }

  /** x [batch, height, width, in] -> [batch, height', width', out] */
  forward(x: Tensor): Tensor {
    const { kernel, ...options } = this.geometry
    const [out, inputs] = this.source.shape
    return scope(() => {
      const weight = this.source.dense().reshape([out, ...kernel, inputs / (kernel[0] * kernel[1])])
      return conv2d(x, weight, this.bias, options)
    })
  }

  resources(): Iterable<unknown> {
    return [this.source, this.bias]
  }
}
