/** The weights of a model under the names of a Hugging Face checkpoint, wherever and however they are stored. */
import type { StoredValues } from '../nn/values/values.ts'
import type { DType, Tensor } from '../tensor/index.ts'

export interface WeightInfo {
  /** `model.layers.0.self_attn.q_proj.weight` */
  readonly name: string
  /** `[out, in]` for a linear weight. */
  readonly shape: readonly number[]
  /** How it is stored, in the word of its format: `BF16`, `Q4_1`, `gptq-4bit`. */
  readonly type: string
  /** Bytes that it takes in the file, scales and zeros included. */
  readonly bytes: number
}

/** Reads weights by position, one at a time. */
export interface ModelWeights {
  /** In the order of the file. */
  readonly infos: ReadonlyMap<string, WeightInfo>
  /** Size of all weight files. */
  readonly fileBytes: number
  /** Type of the tensors that are handed out. @default f32 */
  readonly dtype?: DType
  /** The whole weight in f32. @throws FormatError if the model has no such weight, or holds values that are not finite. */
  load(name: string): Tensor
  /** Some rows in f32, [ids.length, in]. */
  rows(name: string, ids: Uint32Array): Tensor
  /** Rows `start` to `end` (exclusive) of a matrix in f32, [end - start, in]; the same values as in `load`. */
  slice(name: string, start: number, end: number): Tensor
  /** Rows of a weight as codes, where it is stored as codes; else undefined. @default all rows */
  stored?(name: string, start?: number, end?: number): StoredValues | undefined
  /** The bytes as the file has them, of all rows or of some; only where the store can keep them. */
  raw?(name: string, rows?: { start: number; end: number }): Uint8Array
  close(): void
}
