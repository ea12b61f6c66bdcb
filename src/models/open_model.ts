/** A model whose headers are read and whose weights wait in their files. */
import type { ChatTemplateSources } from '../formats/tokenizer/chat_template.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import type { Llama } from './llama/llama.ts'
import type { ModelWeights } from './model_weights.ts'

export interface OpenModel {
  /** Human name, for reports and file names. */
  readonly name: string
  /** File or folder. */
  readonly path: string
  readonly format: 'gguf' | 'huggingface' | 'gptq' | 'pare'
  readonly model: Llama
  readonly weights: ModelWeights
  /** Made on the first call. @throws FormatError where the model has none that Pare reads. */
  tokenizer(): Tokenizer
  chatTemplates(): ChatTemplateSources
  close(): void
}
