/** What every target that writes a Hugging Face folder needs of its source, and how it stores plain numbers. */
import type { Tensor } from '../../tensor/index.ts'
import type { WeightInfo } from '../model_weights.ts'

export interface FolderSource {
  infos: ReadonlyMap<string, WeightInfo>
  matrices: ReadonlySet<string>
  /** Made when the folder is written: they may need the tokenizer, and a plan does not. */
  companions(): FolderCompanions
}

export interface FolderCompanions {
  /** config.json without quantization. */
  config: Record<string, unknown>
  /** Further files, by their paths below the folder: tokenizer, generation settings. */
  files: ReadonlyMap<string, Uint8Array | string>
}

/** Float type of what is not quantised: bf16 where the source has it or f16 has not its range, else f16. */
export const plainType = (sourceType: string): 'F16' | 'BF16' =>
  sourceType === 'BF16' || sourceType === 'F8_E8M0' ? 'BF16' : 'F16'

/** Numbers in a plain type of safetensors. */
export const asType = (values: Tensor, type: string): Tensor =>
  values.cast(type === 'F16' ? 'f16' : type === 'BF16' ? 'bf16' : 'f32')

export const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`
