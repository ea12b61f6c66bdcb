/** What the server serves: a model behind interfaces that hide in which thread it runs. */
import type { ChatTemplate } from '../formats/tokenizer/chat_template.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import type { TextGenerator } from '../generate/generation.ts'
import { badRequest } from './api_error.ts'
import type { SamplingDefaults } from './sampling_fields.ts'

/** What continues texts. */
export interface ServedGenerator {
  generator: TextGenerator
  tokenizer: Tokenizer
  /** Ids of the model are below it. */
  vocabulary: number
  /** Without one there are no chats. */
  template?: ChatTemplate
  /** Of the model's generation_config.json. */
  defaults: SamplingDefaults
}

/** Vectors of texts, in their order, and how many tokens each has. */
export interface TextVectors {
  vectors: Float32Array[]
  tokens: number[]
}

/** What turns texts into vectors. */
export interface TextEmbedder {
  /** Numbers of a vector. */
  readonly width: number
  /** @throws OptionError (PARE_E_TEXT_TOO_LONG) for a text of more tokens than the model reads, AbortError. */
  embed(texts: readonly string[], options: { signal: AbortSignal }): Promise<TextVectors>
}

export interface ServedModel {
  /** Its name in requests. */
  id: string
  /** Seconds since 1970. */
  created: number
  /** Tokens of a text at most. */
  context: number
  /** How the weights are stored. */
  quantization: { format: string; bits_per_weight: number }
  /** Changes with anything that changes texts of the same seed. */
  fingerprint: string
  language?: ServedGenerator
  embedder?: TextEmbedder
}

/** @throws ApiError 400 where the model writes no texts. */
export function generatorOf(model: ServedModel): ServedGenerator {
  if (model.language) return model.language
  throw badRequest(
    `model ${model.id}: is a text encoder, which writes no texts; ask /v1/embeddings for its vectors`,
    'model',
    'no_language_model',
  )
}

/** @throws ApiError 400 where the model gives no vectors. */
export function embedderOf(model: ServedModel): TextEmbedder {
  if (model.embedder) return model.embedder
  throw badRequest(
    `model ${model.id}: is a language model, which gives no vectors of texts; serve a text encoder for /v1/embeddings`,
    'model',
    'no_text_encoder',
  )
}
