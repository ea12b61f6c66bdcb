/**
 * One decoder block of the llama family: RMS norm, grouped-query attention with rotary positions, RMS norm,
 * SwiGLU. It runs in segments, so that a walk can stop before each group of weights and look at its input.
 */
import type { Linear } from '../../nn/linear.ts'
import { anyAsked, type Sites, visit } from '../../nn/sites.ts'
import { attention, explicitAttention, rmsNorm, silu, type Tensor } from '../../tensor/index.ts'
import type { ResourceHolder } from '../../tensor/scope.ts'
import type { Segment, StageContext, StageState } from '../stage.ts'
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

export class LlamaBlock implements ResourceHolder {
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
      { linears: [q, k, v], run: (state, context) => this.attend(state, context) },
      { linears: [o], run: (state, context) => this.afterAttention(state, context) },
      { linears: [gate, up], run: (state, context) => this.gateAndUp(state, context) },
      { linears: [down], run: (state, context) => this.finish(state, context) },
    ]
  }

  /** Names of the sites of this block, in the order that a forward visits them. */
  static sites(index: number): string[] {
    const inner = [
      'input', 'attn/norm', 'attn/q', 'attn/k', 'attn/v', 'attn/q.rope', 'attn/k.rope', 'attn/scores', 'attn/probs',
      'attn/heads', 'attn/out', 'mlp/norm', 'mlp/gate', 'mlp/up', 'mlp/act', 'mlp/out', 'output',
    ]
    return inner.map((name) => `block.${index}/${name}`)
  }

  private visit(at: Sites | undefined, site: string, x: Tensor): Tensor {
    return at ? visit(at, `block.${this.index}/${site}`, x) : x
  }

  /** hidden [tokens, hidden] or [batch, tokens, hidden] -> the input of q, k and v. */
  enter(hidden: Tensor, { at }: StageContext): StageState {
    const residual = this.visit(at, 'input', hidden)
    const x = rmsNorm(residual, this.weights.attentionNorm, this.config.normEpsilon)
    return { residual, x: this.visit(at, 'attn/norm', x) }
  }

  private attend({ residual, x }: StageState, context: StageContext): StageState {
    const { at, rotary, cache, bias } = context
    const { heads, kvHeads } = this.layer
    const { q, k, v } = this.weights
    const leading = x!.shape.slice(0, -1)
    const tokens = leading.at(-1)!
    const batch = leading.length === 2 ? leading[0]! : 1
    const split = (y: Tensor, count: number) => y.reshape([batch, tokens, count, this.config.headSize]).transpose(1, 2)
    const rotate = (y: Tensor, site: string) => this.visit(at, site, y.rotary(rotary.cos, rotary.sin))
    const queries = rotate(split(this.visit(at, 'attn/q', q.forward(x!)), heads), 'attn/q.rope')
    let keys = rotate(split(this.visit(at, 'attn/k', k.forward(x!)), kvHeads), 'attn/k.rope')
    let values = split(this.visit(at, 'attn/v', v.forward(x!)), kvHeads)
    if (cache) ({ keys, values } = cache.append(this.index, keys, values))
    const options = { scale: this.config.headSize ** -0.5, causal: true, ...(bias ? { bias } : {}) }
    const inner = ['attn/scores', 'attn/probs'].map((site) => `block.${this.index}/${site}`)
    const mixed = anyAsked(at, inner)
      ? explicitAttention(queries, keys, values, {
          ...options,
          inspect: (what: 'scores' | 'probs', y: Tensor) => this.visit(at, `attn/${what}`, y),
        })
      : attention(queries, keys, values, options)
    const joined = mixed.transpose(1, 2).reshape([...leading, heads * this.config.headSize])
    return { residual: residual!, x: this.visit(at, 'attn/heads', joined) }
  }

  private afterAttention({ residual, x }: StageState, { at }: StageContext): StageState {
    const sum = residual!.add(this.visit(at, 'attn/out', this.weights.o.forward(x!)))
    const normed = rmsNorm(sum, this.weights.mlpNorm, this.config.normEpsilon)
    return { residual: sum, x: this.visit(at, 'mlp/norm', normed) }
  }

  private gateAndUp({ residual, x }: StageState, { at }: StageContext): StageState {
    const gate = this.visit(at, 'mlp/gate', this.weights.gate.forward(x!))
    const up = this.visit(at, 'mlp/up', this.weights.up.forward(x!))
    return { residual: residual!, x: this.visit(at, 'mlp/act', silu(gate).mul(up)) }
  }

  private finish({ residual, x }: StageState, { at }: StageContext): StageState {
    const sum = residual!.add(this.visit(at, 'mlp/out', this.weights.down.forward(x!)))
    return { hidden: this.visit(at, 'output', sum) }
  }

  resources(): Iterable<unknown> {
    return Object.values(this.weights)
  }
}
