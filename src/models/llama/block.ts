/**
 * One decoder block of the llama family: RMS norm, grouped-query attention with rotary positions, RMS norm,
 * SwiGLU. It runs in segments, so that a walk can stop before each group of weights and look at its input.
 */
import { Attention } from '../../nn/attention.ts'
import type { Linear } from '../../nn/linear.ts'
import { SwigluMlp } from '../../nn/mlp.ts'
import { visit } from '../../nn/sites.ts'
import { rmsNorm, type Tensor } from '../../tensor/index.ts'
import type { Segment, Stage, StageContext } from '../stage.ts'
import type { LlamaConfig } from './config.ts'
import { type DecoderCall, decoderCall } from './decoder_call.ts'

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
  readonly index: number
  readonly weights: LlamaBlockWeights
  readonly segments: readonly Segment[]
  readonly whole: DecoderCall

  constructor(config: LlamaConfig, index: number, weights: LlamaBlockWeights) {
    this.config = config
    this.index = index
    this.weights = weights
    const { q, k, v, o, gate, up, down } = weights
    const { heads, kvHeads } = config.layers[index]!
    const shape = { heads, kvHeads, headSize: config.headSize, causal: true, path: this.site('attn') }
    this.whole = decoderCall(index, weights, { heads, kvHeads, epsilon: config.normEpsilon })
    const attention = new Attention({ q, k, v, o }, shape)
    const mlp = new SwigluMlp({ gate, up, down }, this.site('mlp'))
    this.segments = [
      {
        linears: [q, k, v],
        input: ({ hidden }, { at }) =>
          visit(
            at,
            this.site('attn/norm'),
            this.normalize(visit(at, this.site('input'), hidden!), weights.attentionNorm),
          ),
        run: ({ hidden }, x, context) => ({
          hidden: hidden!,
          heads: attention.mix(x, {
            ...context,
            remember: this.memory(context),
            parts: context.sequences?.map((rows) => ({ ...rows, remember: this.memory(rows) })),
          }),
        }),
      },
      {
        linears: [o],
        input: ({ heads }) => heads!,
        run: ({ hidden }, x, { at }) => ({ residual: hidden!.add(attention.project(x, at)) }),
      },
      {
        linears: [gate, up],
        input: ({ residual }, { at }) =>
          visit(at, this.site('mlp/norm'), this.normalize(residual!, weights.mlpNorm)),
        run: ({ residual }, x, { at }) => ({ residual: residual!, activated: mlp.activate(x, at) }),
      },
      {
        linears: [down],
        input: ({ activated }) => activated!,
        run: ({ residual }, x, { at }) => ({
          hidden: visit(at, this.site('output'), residual!.add(mlp.project(x, at))),
        }),
      },
    ]
  }

  /** Names of the sites of this block, in the order that a forward visits them. */
  static sites(index: number): string[] {
    const inner = [
      'input',
      'attn/norm',
      ...Attention.sites('attn', { rotary: true }),
      'mlp/norm',
      ...SwigluMlp.sites('mlp'),
      'output',
    ]
    return inner.map((name) => `block.${index}/${name}`)
  }

  private site(name: string): string {
    return `block.${this.index}/${name}`
  }

  private normalize(x: Tensor, weight: Tensor): Tensor {
    return rmsNorm(x, weight, this.config.normEpsilon)
  }

  private memory({ cache }: Pick<StageContext, 'cache'>) {
    return cache && ((keys: Tensor, values: Tensor) => cache.append(this.index, keys, values))
  }

  resources(): Iterable<unknown> {
    return Object.values(this.weights)
  }
}
