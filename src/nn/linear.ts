/** A linear layer: y = x W^T + b over an exchangeable weight source. */
import type { Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'
import type { WeightSource } from './weight_source.ts'

export class Linear implements ResourceHolder {
  /** Name of the weight as in the model's file, e.g. `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string
  source: WeightSource
  /** [out]; may be exchanged for one of its shape. */
  bias: Tensor | undefined

  constructor(name: string, source: WeightSource, bias?: Tensor) {
    this.name = name
    this.source = source
    this.bias = bias
  }

  /** x [.., in] -> [.., out] */
  forward(x: Tensor): Tensor {
    return this.source.matmul(x, this.bias)
  }

  resources(): Iterable<unknown> {
    return [this.source, this.bias]
  }
}
