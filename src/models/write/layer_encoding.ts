/** How a checkpoint format stores a linear weight as codes. */
import type { TensorInfo } from '../../formats/archive.ts'
import type { GridForm } from '../../nn/grid.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import type { EncodedTensor, TargetPlan } from './model_writer.ts'

/** A weight with codes, known before any is made. */
export interface CodedLayer {
  /** Hugging Face name, ending in `.weight`. */
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  readonly grid: GridForm
}

export interface LayerEncoding {
  readonly target: TargetPlan['target']
  /** For messages: `a GPTQ checkpoint`. */
  readonly title: string
  /** Layers may differ in bits and groups. */
  readonly mixed: boolean
  /** What a layer needs that this one has not, `rows and columns that 32 divides`; nothing where it fits. */
  need(layer: CodedLayer): string | undefined
  /** The tensors that a layer takes. */
  tensors(layer: CodedLayer): TensorInfo[]
  /** @throws OptionError for values that are of another kind than a grid. */
  encode(layer: CodedLayer, values: StoredValues): EncodedTensor[]
  /** Fields that config.json gets. */
  configuration(layers: readonly CodedLayer[], leftOut: readonly string[]): Record<string, unknown>
  /** Further files beside it, by name. @default none */
  files?(configuration: Record<string, unknown>): ReadonlyMap<string, string>
  /** For the reader of the plan. @default none */
  readonly notes?: readonly string[]
}

/** `model.layers.0.mlp.up_proj` of its weight. */
export const moduleOf = (name: string): string => name.replace(/\.weight$/, '')

/** Name of a float type in safetensors. */
export const floatName = (type: GridForm['scaleType']): 'F16' | 'BF16' | 'F32' =>
  type === 'f16' ? 'F16' : type === 'bf16' ? 'BF16' : 'F32'
