/** Names of weights in two models of a family, and tensors of a file that nothing reads. */
import { prefixOf } from '../../models/bert/names.ts'
import { blockName, embeddingName, headName } from '../../models/llama/names.ts'
import { weightShapes } from '../../models/llama/weight_shapes.ts'
import type { OpenModel } from '../../models/open_model.ts'

/** The weights that the family reads, each with the name that it has whatever the checkpoint puts before it. */
export function familyWeights(open: OpenModel): Map<string, string> {
  const { infos } = open.weights
  if (open.family === 'llama') {
    const { config } = open.model
    const biases = config.layers.map((_, block) => blockName(block, 'self_attn.o_proj', 'bias'))
    const names = [...weightShapes(config).keys(), ...biases].filter((name) => infos.has(name))
    // A tied head is the embedding under another name.
    return new Map(names.map((name) => [name, name]))
  }
  const prefix = prefixOf(infos)
  const names = [...infos.keys()].filter((name) => name.startsWith(prefix) && !isBeside(name))
  return new Map(names.map((name) => [name.slice(prefix.length), name]))
}

/** The name under which the other model has a weight: heads may be tied in one and not in the other. */
export function nameIn(names: ReadonlyMap<string, string>, own: string): string | undefined {
  return names.get(own) ?? (own === headName ? names.get(embeddingName) : undefined)
}

/** Tensors that the family does not read; a model with them computes something else, or was saved by someone else. */
export function unreadTensors(open: OpenModel): string[] {
  const read = new Set(familyWeights(open).values())
  const isCopy = (name: string) => open.family === 'llama' && open.model.config.tied && name === headName
  return [...open.weights.infos.keys()].filter((name) => !read.has(name) && !isCopy(name) && !isBeside(name))
}

/** Parts of checkpoints of encoders that no vector depends on: poolers, heads of the training, numbers of positions. */
const isBeside = (name: string): boolean =>
  /(?:^|\.)(?:pooler\.|cls\.|classifier\.|embeddings\.position_ids$)/.test(name)
