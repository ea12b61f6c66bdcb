/** The MLPs of transformer blocks over linear layers. */
import { geluErf, geluTanh, relu, scope, silu, swiglu, type Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'
import type { Linear } from './linear.ts'
import { type Sites, visit } from './sites.ts'

export interface SwigluWeights {
  /** [intermediate, in], as up */
  gate: Linear
  up: Linear
  /** [out, intermediate] */
  down: Linear
}

/**
 * down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202).
 *
 * @example new SwigluMlp({ gate, up, down }).forward(x) // [.., in] -> [.., out]
 */
export class SwigluMlp implements ResourceHolder {
  readonly weights: SwigluWeights
  private readonly path: string

  /** @param path what the names of its sites begin with. @default 'mlp' */
  constructor(weights: SwigluWeights, path = 'mlp') {
    this.weights = weights
    this.path = path
  }

  /** Names of its sites, in the order that a forward visits them. */
  static sites(path: string): string[] {
    return ['gate', 'up', 'act', 'out'].map((site) => `${path}/${site}`)
  }

  forward(x: Tensor, at?: Sites): Tensor {
    return scope(() => this.project(this.activate(x, at), at))
  }

  /** silu(gate(x)) * up(x), [.., intermediate] */
  activate(x: Tensor, at?: Sites): Tensor {
    const gate = visited(at, this.path, 'gate', this.weights.gate.forward(x))
    const up = visited(at, this.path, 'up', this.weights.up.forward(x))
    // One pass has the same bits in f32; in bf16 checkpoints were trained with a rounding between the two.
    const activated = gate.dtype === 'bf16' ? silu(gate).mul(up) : swiglu(gate, up)
    return visited(at, this.path, 'act', activated)
  }

  /** The output of what `activate` gave. */
  project(activated: Tensor, at?: Sites): Tensor {
    return visited(at, this.path, 'out', this.weights.down.forward(activated))
  }

  resources(): Iterable<unknown> {
    return Object.values(this.weights)
  }
}

/** `geluErf` is x Phi(x) itself, `geluTanh` its approximation by a tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415). */
export const mlpActivations = { geluErf, geluTanh, relu } as const
export type MlpActivation = keyof typeof mlpActivations

export interface MlpWeights {
  /** [intermediate, in] */
  up: Linear
  /** [out, intermediate] */
  down: Linear
}

/**
 * down(activation(up(x))).
 *
 * @example new Mlp({ up, down }, { activation: 'geluErf' }).forward(x) // [.., in] -> [.., out]
 */
export class Mlp implements ResourceHolder {
  readonly weights: MlpWeights
  readonly activation: MlpActivation
  private readonly path: string

  /** @param options `path` is what the names of its sites begin with. @default 'mlp' */
  constructor(
    weights: MlpWeights,
    { activation, path = 'mlp' }: { activation: MlpActivation; path?: string },
  ) {
    this.weights = weights
    this.activation = activation
    this.path = path
  }

  /** Names of its sites, in the order that a forward visits them. */
  static sites(path: string): string[] {
    return ['up', 'act', 'out'].map((site) => `${path}/${site}`)
  }

  forward(x: Tensor, at?: Sites): Tensor {
    return scope(() => this.project(this.activate(x, at), at))
  }

  /** activation(up(x)), [.., intermediate] */
  activate(x: Tensor, at?: Sites): Tensor {
    const up = visited(at, this.path, 'up', this.weights.up.forward(x))
    return visited(at, this.path, 'act', mlpActivations[this.activation](up))
  }

  /** The output of what `activate` gave. */
  project(activated: Tensor, at?: Sites): Tensor {
    return visited(at, this.path, 'out', this.weights.down.forward(activated))
  }

  resources(): Iterable<unknown> {
    return Object.values(this.weights)
  }
}

const visited = (at: Sites | undefined, path: string, site: string, x: Tensor): Tensor =>
  at ? visit(at, `${path}/${site}`, x) : x
