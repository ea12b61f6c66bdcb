/**
 * Which weights of a block share the scales of their inputs, and what takes the scales up before them, so that the block
 * computes what it did: norm -> q, k, v;  v -> o;  norm -> gate, up;  up -> down.
 */
import type { Linear } from '../../nn/linear.ts'
import type { ScalingGroup, StageScaling } from '../scaling_groups.ts'
import type { LlamaBlock } from './block.ts'
import { blockName } from './names.ts'

/** v -> o is left out where several query heads share a value head, since each row of v then feeds several columns of o. */
export function llamaScaling({ config, index, weights, segments }: LlamaBlock): StageScaling {
  const { q, k, v, o, gate, up, down } = weights
  const { heads, kvHeads } = config.layers[index]!
  const [attention, , mlp] = segments as [(typeof segments)[number], unknown, (typeof segments)[number]]
  const outputsOf = (linear: Linear) => [
    linear.name,
    ...(linear.bias ? [linear.name.replace(/weight$/, 'bias')] : []),
  ]
  const values: ScalingGroup = {
    kind: 'linear',
    divided: outputsOf(v),
    linears: [o],
    mixesTokens: false,
    output: (x) => o.forward(x),
  }
  const groups: ScalingGroup[] = [
    {
      kind: 'norm',
      divided: [blockName(index, 'input_layernorm')],
      linears: [q, k, v],
      mixesTokens: true,
      output: (x, context) => o.forward(attention.run({ hidden: x }, x, context).heads!),
    },
    ...(heads === kvHeads ? [values] : []),
    {
      kind: 'norm',
      divided: [blockName(index, 'post_attention_layernorm')],
      linears: [gate, up],
      mixesTokens: false,
      output: (x, context) => down.forward(mlp.run({ residual: x }, x, context).activated!),
    },
    {
      kind: 'linear',
      divided: outputsOf(up),
      linears: [down],
      mixesTokens: false,
      output: (x) => down.forward(x),
    },
  ]
  return { groups, scoring: [q, k] }
}
