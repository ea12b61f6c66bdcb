/**
 * Which weights of a block share the scales of their inputs, and what takes the scales up before them, so that the block
 * computes what it did: norm -> q, k, v;  v -> o;  norm -> gate, up;  up -> down.
 */
import type { Linear } from '../../nn/linear.ts'
import type { ScalingGroup, ScalingNames, StageScaling } from '../scaling_groups.ts'
import type { LlamaBlock } from './block.ts'
import type { LlamaConfig } from './config.ts'
import { blockName } from './names.ts'

/**
 * The groups of a block, by name. v -> o is left out where several query heads share a value head, since each row of v then
 * feeds several columns of o.
 */
export function llamaScalingNames({ layers, attentionBias }: LlamaConfig, block: number): ScalingNames[] {
  const { heads, kvHeads } = layers[block]!
  const [v, o] = [blockName(block, 'self_attn.v_proj'), blockName(block, 'self_attn.o_proj')]
  const [gate, up] = [blockName(block, 'mlp.gate_proj'), blockName(block, 'mlp.up_proj')]
  const queriesAndKeys = [blockName(block, 'self_attn.q_proj'), blockName(block, 'self_attn.k_proj')]
  const values = {
    kind: 'linear',
    divided: [v, ...(attentionBias ? [blockName(block, 'self_attn.v_proj', 'bias')] : [])],
    weights: [o],
  } as const
  return [
    { kind: 'norm', divided: [blockName(block, 'input_layernorm')], weights: [...queriesAndKeys, v] },
    ...(heads === kvHeads ? [values] : []),
    { kind: 'norm', divided: [blockName(block, 'post_attention_layernorm')], weights: [gate, up] },
    { kind: 'linear', divided: [up], weights: [blockName(block, 'mlp.down_proj')] },
  ]
}

/** The groups of a loaded block. */
export function llamaScaling({ config, index, weights, segments }: LlamaBlock): StageScaling {
  const { q, k, o, down } = weights
  const [attention, , mlp] = segments as [(typeof segments)[number], unknown, (typeof segments)[number]]
  const named = new Map(Object.values(weights).flatMap((each) => ('name' in each ? [[each.name, each]] : [])))
  const outputOf = (linears: readonly Linear[]): Pick<ScalingGroup, 'mixesTokens' | 'output'> => {
    if (linears.includes(q))
      return {
        mixesTokens: true,
        output: (x, context) => o.forward(attention.run({ hidden: x }, x, context).heads!),
      }
    const [only] = linears
    if (linears.length === 1) return { mixesTokens: false, output: (x) => only!.forward(x) }
    return {
      mixesTokens: false,
      output: (x, context) => down.forward(mlp.run({ residual: x }, x, context).activated!),
    }
  }
  const groups = llamaScalingNames(config, index).map(({ kind, divided, weights: names }) => {
    const linears = names.map((name) => named.get(name) as Linear)
    return { kind, divided, linears, ...outputOf(linears) }
  })
  return { groups, scoring: [q, k] }
}
