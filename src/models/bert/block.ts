/**
 * One encoder layer of the BERT family: attention over all tokens of a sequence, its sum with the input normalised,
 * an MLP, and its sum with what it took normalised. It runs in segments, so that a walk can stop before each group of
 * weights and look at its input.
 */
import type { Linear } from '../../nn/linear.ts'
import { anyAsked, type Sites, visit } from '../../nn/sites.ts'
import {
  attention,
  explicitAttention,
  geluErf,
  geluTanh,
  layerNorm,
  relu,
  type Tensor,
} from '../../tensor/index.ts'
import type { Segment, Stage, StageContext } from '../stage.ts'
import type { BertActivation, BertConfig, BertLayer } from './config.ts'

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

const activate: Readonly<Record<BertActivation, (x: Tensor) => Tensor>> = {
  gelu: geluErf,
  gelu_new: geluTanh,
  relu,
}

export class BertBlock implements Stage {
  readonly config: BertConfig
  readonly layer: BertLayer
  readonly index: number
  readonly weights: BertBlockWeights
  readonly segments: readonly Segment[]

  constructor(config: BertConfig, index: number, weights: BertBlockWeights) {
    this.config = config
    this.layer = config.layers[index]!
    this.index = index
    this.weights = weights
    const { q, k, v, o, attentionNorm, up, down, outputNorm } = weights
    this.segments = [
      {
        linears: [q, k, v],
        input: ({ hidden }, { at }) => this.visit(at, 'input', hidden!),
        run: ({ hidden }, x, context) => ({ hidden: hidden!, heads: this.attend(x, context) }),
      },
      {
        linears: [o],
        input: ({ heads }) => heads!,
        run: ({ hidden }, x, { at }) => {
          const sum = hidden!.add(this.visit(at, 'attn/out', o.forward(x)))
          return { attended: this.visit(at, 'attn/norm', this.normalize(sum, attentionNorm)) }
        },
      },
      {
        linears: [up],
        input: ({ attended }) => attended!,
        run: ({ attended }, x, { at }) => {
          const wide = this.visit(at, 'mlp/up', up.forward(x))
          return {
            attended: attended!,
            activated: this.visit(at, 'mlp/act', activate[config.activation](wide)),
          }
        },
      },
      {
        linears: [down],
        input: ({ activated }) => activated!,
        run: ({ attended }, x, { at }) => {
          const sum = attended!.add(this.visit(at, 'mlp/out', down.forward(x)))
          return { hidden: this.visit(at, 'output', this.normalize(sum, outputNorm)) }
        },
      },
    ]
  }

  /** Names of the sites of this layer, in the order that a forward visits them. */
  static sites(index: number): string[] {
    const inner = [
      'input',
      'attn/q',
      'attn/k',
      'attn/v',
      'attn/scores',
      'attn/probs',
      'attn/heads',
      'attn/out',
      'attn/norm',
      'mlp/up',
      'mlp/act',
      'mlp/out',
      'output',
    ]
    return inner.map((name) => `block.${index}/${name}`)
  }

  private visit(at: Sites | undefined, site: string, x: Tensor): Tensor {
    return at ? visit(at, `block.${this.index}/${site}`, x) : x
  }

  private normalize(x: Tensor, { weight, bias }: BertNorm): Tensor {
    return layerNorm(x, weight, bias, this.config.normEpsilon)
  }

  /** x [.., tokens, hidden] -> mixed values [.., tokens, heads * headSize] */
  private attend(x: Tensor, { at, bias }: StageContext): Tensor {
    const { q, k, v } = this.weights
    const { heads } = this.layer
    const { headSize } = this.config
    const leading = x.shape.slice(0, -1)
    const [batch, tokens] = leading.length === 2 ? (leading as [number, number]) : [1, leading[0]!]
    const split = (y: Tensor) => y.reshape([batch, tokens, heads, headSize]).transpose(1, 2)
    const queries = split(this.visit(at, 'attn/q', q.forward(x)))
    const keys = split(this.visit(at, 'attn/k', k.forward(x)))
    const values = split(this.visit(at, 'attn/v', v.forward(x)))
    const options = { scale: headSize ** -0.5, bias }
    const sites = { scores: 'attn/scores', probabilities: 'attn/probs' }
    const inner = Object.values(sites).map((site) => `block.${this.index}/${site}`)
    const mixed = anyAsked(at, inner)
      ? explicitAttention(queries, keys, values, {
          ...options,
          at: (what, y) => this.visit(at, sites[what], y),
        })
      : attention(queries, keys, values, options)
    return this.visit(at, 'attn/heads', mixed.transpose(1, 2).reshape([...leading, heads * headSize]))
  }

  resources(): Iterable<unknown> {
    const { attentionNorm, outputNorm, ...linears } = this.weights
    return [...Object.values(linears), ...Object.values(attentionNorm), ...Object.values(outputNorm)]
  }
}
