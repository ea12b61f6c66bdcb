/**
 * One decoder block of the llama family: RMS norm, grouped-query attention with rotary positions, RMS norm,
 * SwiGLU. It runs in segments, so that a walk can stop before each group of weights and look at its input.
 */
import type { Linear } from '../../nn/linear.ts'
import { anyAsked, type Sites, visit } from '../../nn/sites.ts'
import {
  attention,
  explicitAttention,
  isRecording,
  rmsNorm,
  silu,
  swiglu,
  type Tensor,
} from '../../tensor/index.ts'
import type { Segment, Stage, StageContext } from '../stage.ts'
import type { LlamaConfig, LlamaLayer } from './config.ts'

export interface LlamaBlockWeights {
  attentionNorm: Tensor
  mlpNorm: Tensor
  q: Linear
  k: Linear
  v: Linear
  o: Linear
  gate: Linear
  up: Linear
  down: Linear
}

export class LlamaBlock implements Stage {
  readonly config: LlamaConfig
  readonly layer: LlamaLayer
  readonly index: number
  readonly weights: LlamaBlockWeights
  readonly segments: readonly Segment[]

  constructor(config: LlamaConfig, index: number, weights: LlamaBlockWeights) {
    this.config = config
    this.layer = config.layers[index]!
    this.index = index
    this.weights = weights
    const { q, k, v, o, gate, up, down } = weights
    this.segments = [
      {
        linears: [q, k, v],
        input: ({ hidden }, { at }) =>
          this.visit(
            at,
            'attn/norm',
            this.normalize(this.visit(at, 'input', hidden!), weights.attentionNorm),
          ),
        run: ({ hidden }, x, context) => ({ hidden: hidden!, heads: this.attend(x, context) }),
      },
      {
        linears: [o],
        input: ({ heads }) => heads!,
        run: ({ hidden }, x, { at }) => ({ residual: hidden!.add(this.visit(at, 'attn/out', o.forward(x))) }),
      },
      {
        linears: [gate, up],
        input: ({ residual }, { at }) =>
          this.visit(at, 'mlp/norm', this.normalize(residual!, weights.mlpNorm)),
        run: ({ residual }, x, context) => ({ residual: residual!, activated: this.activate(x, context) }),
      },
      {
        linears: [down],
        input: ({ activated }) => activated!,
        run: ({ residual }, x, { at }) => ({
          hidden: this.visit(at, 'output', residual!.add(this.visit(at, 'mlp/out', down.forward(x)))),
        }),
      },
    ]
  }

  /** Names of the sites of this block, in the order that a forward visits them. */
  static sites(index: number): string[] {
    const inner = [
      'input',
      'attn/norm',
      'attn/q',
      'attn/k',
      'attn/v',
      'attn/q.rope',
      'attn/k.rope',
      'attn/scores',
      'attn/probs',
      'attn/heads',
      'attn/out',
      'mlp/norm',
      'mlp/gate',
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

  private normalize(x: Tensor, weight: Tensor): Tensor {
    return rmsNorm(x, weight, this.config.normEpsilon)
  }

  /** x [.., tokens, hidden] -> mixed values [.., tokens, heads * headSize] */
  private attend(x: Tensor, { at, rotary, cache, bias }: StageContext): Tensor {
    const { heads, kvHeads } = this.layer
    const { q, k, v } = this.weights
    const leading = x.shape.slice(0, -1)
    const [batch, tokens] = leading.length === 2 ? (leading as [number, number]) : [1, leading[0]!]
    const split = (y: Tensor, count: number) =>
      y.reshape([batch, tokens, count, this.config.headSize]).transpose(1, 2)
    const rotate = (y: Tensor, site: string) => this.visit(at, site, y.rotary(rotary!.cos, rotary!.sin))
    const plainQueries = split(this.visit(at, 'attn/q', q.forward(x)), heads)
    const plainKeys = split(this.visit(at, 'attn/k', k.forward(x)), kvHeads)
    let values = split(this.visit(at, 'attn/v', v.forward(x)), kvHeads)
    const queries = rotate(plainQueries, 'attn/q.rope')
    let keys = rotate(plainKeys, 'attn/k.rope')
    if (cache) ({ keys, values } = cache.append(this.index, keys, values))
    const options = { scale: this.config.headSize ** -0.5, causal: true, bias }
    const sites = { scores: 'attn/scores', probabilities: 'attn/probs' }
    const inner = Object.values(sites).map((site) => `block.${this.index}/${site}`)
    const mixed = anyAsked(at, inner)
      ? explicitAttention(queries, keys, values, {
          ...options,
          at: (what, y) => this.visit(at, sites[what], y),
        })
      : attention(queries, keys, values, options)
    return this.visit(
      at,
      'attn/heads',
      mixed.transpose(1, 2).reshape([...leading, heads * this.config.headSize]),
    )
  }

  /** x [.., tokens, hidden] -> silu(gate) * up [.., tokens, intermediate] */
  private activate(x: Tensor, { at }: StageContext): Tensor {
    const gate = this.visit(at, 'mlp/gate', this.weights.gate.forward(x))
    const up = this.visit(at, 'mlp/up', this.weights.up.forward(x))
    // In training one operation, which keeps less and has both gradients in one pass.
    return this.visit(at, 'mlp/act', isRecording() ? swiglu(gate, up) : silu(gate).mul(up))
  }

  resources(): Iterable<unknown> {
    return Object.values(this.weights)
  }
}
