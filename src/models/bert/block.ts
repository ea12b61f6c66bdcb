/**
 * One encoder layer of the BERT family: attention over all tokens of a sequence, its sum with the input normalised,
 * an MLP, and its sum with what it took normalised. It runs in segments, so that a walk can stop before each group of
 * weights and look at its input.
 */
import { Attention } from '../../nn/attention.ts'
import type { Linear } from '../../nn/linear.ts'
import { Mlp, type MlpActivation } from '../../nn/mlp.ts'
import { visit } from '../../nn/sites.ts'
import { layerNorm, type Tensor } from '../../tensor/index.ts'
import type { Segment, Stage } from '../stage.ts'
import type { BertActivation, BertConfig } from './config.ts'

/** Scale and shift of a layer norm, each [hidden]. */
export interface BertNorm {
  weight: Tensor
  bias: Tensor
}

export interface BertBlockWeights {
  q: Linear
  k: Linear
  v: Linear
  o: Linear
  attentionNorm: BertNorm
  up: Linear
  down: Linear
  outputNorm: BertNorm
}

const activations: Readonly<Record<BertActivation, MlpActivation>> = {
  gelu: 'geluErf',
  gelu_new: 'geluTanh',
  relu: 'relu',
}

export class BertBlock implements Stage {
  readonly config: BertConfig
  readonly index: number
  readonly weights: BertBlockWeights
  readonly segments: readonly Segment[]

  constructor(config: BertConfig, index: number, weights: BertBlockWeights) {
    this.config = config
    this.index = index
    this.weights = weights
    const { q, k, v, o, attentionNorm, up, down, outputNorm } = weights
    const { heads } = config.layers[index]!
    const shape = { heads, headSize: config.headSize, path: this.site('attn') }
    const attention = new Attention({ q, k, v, o }, shape)
    const activation = activations[config.activation]
    const mlp = new Mlp({ up, down }, { activation, path: this.site('mlp') })
    this.segments = [
      {
        linears: [q, k, v],
        input: ({ hidden }, { at }) => visit(at, this.site('input'), hidden!),
        run: ({ hidden }, x, { at, bias }) => ({ hidden: hidden!, heads: attention.mix(x, { at, bias }) }),
      },
      {
        linears: [o],
        input: ({ heads }) => heads!,
        run: ({ hidden }, x, { at }) => {
          const sum = hidden!.add(attention.project(x, at))
          return { attended: visit(at, this.site('attn/norm'), this.normalize(sum, attentionNorm)) }
        },
      },
      {
        linears: [up],
        input: ({ attended }) => attended!,
        run: ({ attended }, x, { at }) => ({ attended: attended!, activated: mlp.activate(x, at) }),
      },
      {
        linears: [down],
        input: ({ activated }) => activated!,
        run: ({ attended }, x, { at }) => {
          const sum = attended!.add(mlp.project(x, at))
          return { hidden: visit(at, this.site('output'), this.normalize(sum, outputNorm)) }
        },
      },
    ]
  }

  /** Names of the sites of this layer, in the order that a forward visits them. */
  static sites(index: number): string[] {
    const inner = ['input', ...Attention.sites('attn'), 'attn/norm', ...Mlp.sites('mlp'), 'output']
    return inner.map((name) => `block.${index}/${name}`)
  }

  private site(name: string): string {
    return `block.${this.index}/${name}`
  }

  private normalize(x: Tensor, { weight, bias }: BertNorm): Tensor {
    return layerNorm(x, weight, bias, this.config.normEpsilon)
  }

  resources(): Iterable<unknown> {
    const { attentionNorm, outputNorm, ...linears } = this.weights
    return [...Object.values(linears), ...Object.values(attentionNorm), ...Object.values(outputNorm)]
  }
}
