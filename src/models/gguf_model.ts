/** Opens a GGUF file as a model: shapes, weights, tokenizer and templates from its one file. */
import { statSync } from 'node:fs'
import { type GgufArchive, openGguf } from '../formats/gguf/container.ts'
import { ggufChatTemplateSources } from '../formats/tokenizer/chat_template.ts'
import { ggufTokenizer } from '../formats/tokenizer/gguf_tokenizer.ts'
import { FormatError } from '../tensor/errors.ts'
import { finiteWeights } from './finite_weights.ts'
import { firstCall } from './first_call.ts'
import { ggufWeights } from './gguf_weights.ts'
import { configFromGguf } from './llama/gguf_config.ts'
import { Llama } from './llama/llama.ts'
import type { OpenModelOf } from './open_model.ts'

/** @param opened the file at the path, and its size @default the file there */
export function openGgufModel(
  path: string,
  name: string,
  opened?: { archive: GgufArchive; fileBytes: number },
): OpenModelOf<'llama'> & { gguf: GgufArchive } {
  const archive = opened?.archive ?? openGguf(path)
  try {
    const config = configFromGguf(
      (key) => {
        const value = archive.metadata.get(key)
        return value?.type === 'array' ? Array.from(value.value as ArrayLike<unknown>) : value?.value
      },
      (tensor) => archive.tensors.get(tensor)?.shape,
      rotaryDivisors(archive),
    )
    const weights = finiteWeights(ggufWeights(archive, config, opened?.fileBytes ?? statSync(path).size))
    return {
      family: 'llama',
      name,
      path,
      format: 'gguf',
      model: new Llama(config, weights),
      weights,
      tokenizer: firstCall(() => ggufTokenizer(archive.metadata)),
      chatTemplates: () => ggufChatTemplateSources(archive.metadata),
      close: () => weights.close(),
      gguf: archive,
    }
  } catch (error) {
    archive.close()
    throw error
  }
}

/** The divisors of `rope_freqs.weight`, where the file has them. */
function rotaryDivisors(archive: GgufArchive): number[] | undefined {
  const entry = archive.tensors.get('rope_freqs.weight')
  if (!entry) return undefined
  if (entry.type !== 'F32' || entry.shape.length !== 1)
    throw new FormatError('rope_freqs.weight: must be a vector in F32')
  const bytes = archive.read('rope_freqs.weight')
  return [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)]
}
