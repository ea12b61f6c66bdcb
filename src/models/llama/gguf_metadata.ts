/** GGUF metadata of a llama-family model that comes from elsewhere. */
import { type GgufMetadata, type GgufValue, gguf } from '../../formats/gguf/metadata.ts'
import type { LlamaConfig } from './config.ts'

/** Keys that every GGUF of the family has, then the tokenizer's. */
export function llamaGgufMetadata(config: LlamaConfig, name: string, tokenizer: GgufMetadata): GgufMetadata {
  // llama.cpp knows mistral under llama's name.
  const architecture = config.architecture === 'mistral' ? 'llama' : config.architecture
  const { layers, rotaryScaling } = config
  const perLayer = (of: (layer: LlamaConfig['layers'][number]) => number): GgufValue => {
    const values = layers.map(of)
    return values.every((value) => value === values[0]) ? gguf.u32(values[0]!) : gguf.i32s(values)
  }
  const entries: [string, GgufValue][] = [
    ['general.architecture', gguf.string(architecture)],
    ['general.name', gguf.string(name)],
    [`${architecture}.vocab_size`, gguf.u32(config.vocabulary)],
    [`${architecture}.context_length`, gguf.u32(config.context)],
    [`${architecture}.embedding_length`, gguf.u32(config.hidden)],
    [`${architecture}.block_count`, gguf.u32(layers.length)],
    [`${architecture}.feed_forward_length`, perLayer((l) => l.intermediate)],
    [`${architecture}.attention.head_count`, perLayer((l) => l.heads)],
    [`${architecture}.attention.head_count_kv`, perLayer((l) => l.kvHeads)],
    [`${architecture}.attention.key_length`, gguf.u32(config.headSize)],
    [`${architecture}.attention.value_length`, gguf.u32(config.headSize)],
    [`${architecture}.attention.layer_norm_rms_epsilon`, gguf.f32(config.normEpsilon)],
    [`${architecture}.rope.dimension_count`, gguf.u32(config.headSize)],
    [`${architecture}.rope.freq_base`, gguf.f32(config.rotaryBase)],
  ]
  if (rotaryScaling.kind === 'linear') {
    entries.push([`${architecture}.rope.scaling.type`, gguf.string('linear')])
    entries.push([`${architecture}.rope.scaling.factor`, gguf.f32(rotaryScaling.factor)])
  }
  return new Map([...entries, ...tokenizer])
}
