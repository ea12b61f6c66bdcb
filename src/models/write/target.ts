/** Puts together what a target needs to know of a model that was opened from any format. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { GgufArchive } from '../../formats/gguf/container.ts'
import { ggufTokenizerMetadata } from '../../formats/tokenizer/gguf_tokenizer_metadata.ts'
import type { Tokenizer } from '../../formats/tokenizer/tokenizer.ts'
import { loadVocabulary } from '../../formats/tokenizer/vocabulary.ts'
import { bytesOf } from '../../tensor/index.ts'
import { isPositionIds } from '../bert/names.ts'
import { sentenceFiles } from '../bert/sentence_settings.ts'
import type { Edited } from '../edited_model.ts'
import { configToHuggingFace, type LlamaConfig } from '../llama/config.ts'
import { llamaGgufMetadata } from '../llama/gguf_metadata.ts'
import { rotaryDivisors } from '../llama/rotary_divisors.ts'
import type { OpenCompressible, OpenLanguageModel, OpenModel, OpenTextEncoder } from '../open_model.ts'
import type { FolderSource } from './folder_source.ts'
import type { GgufSource } from './gguf_target.ts'

/** Names of the matrices that methods compress. */
export const matricesOf = ({ model }: { model: Pick<OpenModel['model'], 'stages'> }): Set<string> =>
  new Set(model.stages.flatMap(({ weights }) => weights))

/** Metadata, tokenizer and side tensors for a GGUF file. */
export function ggufSource(
  source: OpenLanguageModel & Edited & { gguf?: GgufArchive },
): GgufSource & { losses: string[] } {
  const { model, weights, gguf } = source
  const base = {
    config: model.config,
    infos: weights.infos,
    matrices: matricesOf(source),
    edited: source.edited ?? new Set<string>(),
  }
  if (gguf) {
    const side = ['rope_freqs.weight'].flatMap((name) => {
      const info = gguf.tensors.get(name)
      return info ? [{ info, bytes: gguf.read(name) }] : []
    })
    return { ...base, metadata: gguf.metadata, side, isGguf: true, losses: [] }
  }
  // Read without the native core, so that a plan needs none.
  const tokenizer = loadVocabulary(source.path)
  const template = source.chatTemplates().get('default')
  const { metadata, losses } = ggufTokenizerMetadata(tokenizer, {
    vocabularySize: model.config.vocabulary,
    ...(template === undefined ? {} : { chatTemplate: template }),
  })
  const divisors = rotaryDivisors(model.config)
  const side = divisors
    ? [
        {
          info: { name: 'rope_freqs.weight', type: 'F32', shape: [divisors.length] },
          bytes: bytesOf(divisors),
        },
      ]
    : []
  const config: LlamaConfig =
    model.config.architecture === 'mistral' ? { ...model.config, architecture: 'llama' } : model.config
  return {
    ...base,
    config,
    metadata: llamaGgufMetadata(model.config, source.name, metadata),
    side,
    isGguf: false,
    losses: [...losses, ...windowLoss(model.config)],
  }
}

/** GGUF's llama has no sliding window. */
function windowLoss({ slidingWindow: window, context }: LlamaConfig): string[] {
  return window !== undefined && window < context
    ? [
        `the sliding window of ${window} tokens is left out, so that longer texts are computed with full attention`,
      ]
    : []
}

/** Files of a Hugging Face folder that go along as they are. */
const companionNames = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'chat_template.jinja',
  'generation_config.json',
]

const filesOf = (folder: string): Map<string, Uint8Array> => {
  const files = companionNames.filter((name) => existsSync(join(folder, name)))
  return new Map(files.map((name) => [name, readFileSync(join(folder, name))]))
}

/** config.json, tokenizer and what makes a vector of a text, for a Hugging Face folder of an encoder. */
export function encoderFolderSource(
  source: OpenTextEncoder & { configJson?: Record<string, unknown> },
): FolderSource {
  const { quantization_config: _, ...config } = source.configJson ?? {}
  return {
    infos: source.weights.infos,
    matrices: matricesOf(source),
    companions: () => ({
      config,
      files: new Map([...filesOf(source.path), ...sentenceFiles(source.path)]),
    }),
  }
}

/** config.json, tokenizer and generation settings for a Hugging Face folder. */
export function folderSource(
  open: OpenCompressible & { configJson?: Record<string, unknown> },
): FolderSource {
  if (open.family === 'bert') {
    const own = encoderFolderSource(open)
    return { ...own, infos: new Map([...own.infos].filter(([name]) => !isPositionIds(name))) }
  }
  const { weights, configJson, path } = open
  const base = { infos: weights.infos, matrices: matricesOf(open) }
  if (configJson) {
    // How the source stored its weights, in the words of transformers, MLX and older compressed-tensors.
    const { quantization_config: _, quantization: __, compression_config: ___, ...config } = configJson
    return {
      ...base,
      companions: () => ({ config, files: filesOf(path) }),
    }
  }
  const source = open
  // What no folder can say is refused in the plan already.
  const config = configToHuggingFace(source.model.config)
  return {
    ...base,
    companions() {
      const tokenizer = source.tokenizer()
      const ids = { bos_token_id: tokenizer.bosId ?? null, eos_token_id: eosIds(tokenizer) ?? null }
      return {
        config: { ...config, ...ids, eos_token_id: tokenizer.eosIds[0] ?? null, torch_dtype: 'float16' },
        files: new Map([
          ['tokenizer.json', tokenizer.json()],
          ['tokenizer_config.json', pretty(tokenizerConfig(tokenizer, source))],
          ['generation_config.json', pretty(ids)],
        ]),
      }
    },
  }
}

const pretty = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
const eosIds = ({ eosIds: ids }: Tokenizer) => (ids.length === 1 ? ids[0] : [...ids])

export function tokenizerConfig(tokenizer: Tokenizer, source: OpenLanguageModel): Record<string, unknown> {
  const token = (id: number | undefined) => (id === undefined ? undefined : tokenizer.token(id))
  const template = source.chatTemplates().get('default')
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: source.model.config.context,
    bos_token: token(tokenizer.bosId),
    eos_token: token(tokenizer.eosIds[0]),
    ...(template === undefined ? {} : { chat_template: template }),
    clean_up_tokenization_spaces: false,
  }
}
