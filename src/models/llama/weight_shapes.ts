/** Every weight that a config of the llama family promises, with its shape. */
import type { LlamaConfig } from './config.ts'
import { blockMatrices, blockName, embeddingName, finalNormName, headName } from './names.ts'

/** By Hugging Face name, in the order of a forward but for the head. Linear weights are [out, in]. */
export function weightShapes(config: LlamaConfig): Map<string, readonly number[]> {
  const { hidden, headSize, vocabulary, attentionBias, tied } = config
  const shapes = new Map<string, readonly number[]>([
    [embeddingName, [vocabulary, hidden]],
    [finalNormName, [hidden]],
  ])
  if (!tied) shapes.set(headName, [vocabulary, hidden])
  config.layers.forEach(({ heads, kvHeads, intermediate }, block) => {
    const matrices = {
      'self_attn.q_proj': [heads * headSize, hidden],
      'self_attn.k_proj': [kvHeads * headSize, hidden],
      'self_attn.v_proj': [kvHeads * headSize, hidden],
      'self_attn.o_proj': [hidden, heads * headSize],
      'mlp.gate_proj': [intermediate, hidden],
      'mlp.up_proj': [intermediate, hidden],
      'mlp.down_proj': [hidden, intermediate],
    } as const
    for (const part of blockMatrices) shapes.set(blockName(block, part), matrices[part])
    shapes.set(blockName(block, 'input_layernorm'), [hidden])
    shapes.set(blockName(block, 'post_attention_layernorm'), [hidden])
    if (!attentionBias) return
    for (const part of ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'] as const)
      shapes.set(blockName(block, part, 'bias'), [matrices[part][0]])
  })
  return shapes
}
