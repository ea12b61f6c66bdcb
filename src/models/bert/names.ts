/** Tensor names of the BERT family, Hugging Face's. Models with a head have all of them below `bert.`. */

export const embeddingNames = {
  word: 'embeddings.word_embeddings',
  position: 'embeddings.position_embeddings',
  type: 'embeddings.token_type_embeddings',
  norm: 'embeddings.LayerNorm',
} as const

/** The matrices of a layer, in the order that a forward uses them. */
export const blockMatrices = [
  'attention.self.query',
  'attention.self.key',
  'attention.self.value',
  'attention.output.dense',
  'intermediate.dense',
  'output.dense',
] as const

export const blockNorms = ['attention.output.LayerNorm', 'output.LayerNorm'] as const

export type BlockPart = (typeof blockMatrices)[number] | (typeof blockNorms)[number]

export const blockName = (block: number, part: BlockPart, kind: 'weight' | 'bias' = 'weight'): string =>
  `encoder.layer.${block}.${part}.${kind}`

/** The whole numbers 0, 1, 2, ... that transformers before 4.31 stored beside the weights, and computes without. */
export const isPositionIds = (name: string): boolean => /^(bert\.)?embeddings\.position_ids$/.test(name)

/** What stands in front of every name of the encoder in a file. */
export const prefixOf = (names: { has(name: string): boolean }): '' | 'bert.' =>
  names.has(`bert.${embeddingNames.word}.weight`) ? 'bert.' : ''
