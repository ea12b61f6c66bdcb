/** Tensor names of the llama family: Hugging Face's, which Pare uses everywhere, and GGUF's. */

export const embeddingName = 'model.embed_tokens.weight'
export const finalNormName = 'model.norm.weight'
export const headName = 'lm_head.weight'

/** Inside a block: Hugging Face path to GGUF stem. */
const blockNames = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
} as const
export type BlockPart = keyof typeof blockNames

/** The matrices of a block, in the order that a forward uses them. */
export const blockMatrices = [
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.o_proj',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
] as const satisfies readonly BlockPart[]

export const blockName = (block: number, part: BlockPart, kind: 'weight' | 'bias' = 'weight'): string =>
  `model.layers.${block}.${part}.${kind}`

const outer: Readonly<Record<string, string>> = {
  [embeddingName]: 'token_embd.weight',
  [finalNormName]: 'output_norm.weight',
  [headName]: 'output.weight',
}

/** The GGUF name of a weight, or nothing where GGUF has none. */
export function ggufName(name: string): string | undefined {
  if (Object.hasOwn(outer, name)) return outer[name]
  const match = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name)
  const [, block, part, kind] = match ?? []
  if (!part || !Object.hasOwn(blockNames, part)) return undefined
  return `blk.${block}.${blockNames[part as BlockPart]}.${kind}`
}

const byGguf = new Map(Object.entries(blockNames).map(([part, stem]) => [stem as string, part as BlockPart]))

/** The Hugging Face name of a GGUF tensor, or nothing where the family has none. */
export function huggingFaceName(name: string): string | undefined {
  const found = Object.entries(outer).find(([, gguf]) => gguf === name)
  if (found) return found[0]
  const [, block, stem, kind] = /^blk\.(\d+)\.([a-z_]+)\.(weight|bias)$/.exec(name) ?? []
  const part = stem === undefined ? undefined : byGguf.get(stem)
  return part && `model.layers.${block}.${part}.${kind}`
}

/** Kind of rows that GGUF's `llama` architecture stores in another order, or nothing. */
export function rotaryHeads(name: string): 'q' | 'k' | undefined {
  return /\.self_attn\.q_proj\./.test(name) ? 'q' : /\.self_attn\.k_proj\./.test(name) ? 'k' : undefined
}

/**
 * Row of the Hugging Face matrix at each row of the GGUF matrix: inside a head, file row 2j + p is row
 * p * headSize / 2 + j, since llama.cpp rotates neighbouring pairs.
 */
export function ggufRowOrder(rows: number, headSize: number): Uint32Array {
  const half = headSize / 2
  return Uint32Array.from({ length: rows }, (_, row) => {
    const inside = row % headSize
    return row - inside + (inside % 2) * half + (inside >> 1)
  })
}

/** The inverse of an order of rows. */
export function inverseOrder(order: Uint32Array): Uint32Array {
  const inverse = new Uint32Array(order.length)
  order.forEach((from, to) => {
    inverse[from] = to
  })
  return inverse
}
