/** How a checkpoint format stores a linear weight as codes. */
import type { TensorInfo } from '../../formats/archive.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import type { GridForm } from '../../nn/grid.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import type { EncodedTensor, TargetPlan } from './model_writer.ts'

/** Evenly spaced levels as they are stored. */
export interface StepForm extends GridForm {
  /** Groups are not neighbours, and need to be named. @default false */
  readonly sorted?: boolean
}

/** A weight with codes, known before any is made. */
export interface CodedLayer<Form = StepForm> {
  /** Hugging Face name, ending in `.weight`. */
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** How the codes are put together. */
  readonly grid: Form
}

export interface LayerEncoding<Form = StepForm> {
  readonly target: TargetPlan['target']
  /** For messages: `a GPTQ checkpoint`. */
  readonly title: string
  /** Layers may differ in bits and groups. */
  readonly mixed: boolean
  /** Embedding and head may have codes too. @default false */
  readonly embeddings?: boolean
  /** Rows are encoded by themselves, so that some of them are a part of the bytes of all. @default false */
  readonly byRows?: boolean
  /** What values that are put together so have as a layer; nothing where the format has no such layer. */
  formOf(described: PareWeight): Form | undefined
  /** What a layer needs that this one has not, `rows and columns that 32 divides`; nothing where it fits. */
  need(layer: CodedLayer<Form>): string | undefined
  /** The tensors that a layer takes. */
  tensors(layer: CodedLayer<Form>): TensorInfo[]
  /** @throws OptionError for values that are of another kind than a grid. */
  encode(layer: CodedLayer<Form>, values: StoredValues): EncodedTensor[]
  /** Fields that config.json gets. */
  configuration(layers: readonly CodedLayer<Form>[], leftOut: readonly string[]): Record<string, unknown>
  /** Further files beside it, by name. @default none */
  files?(configuration: Record<string, unknown>): ReadonlyMap<string, string>
  /** For the reader of the plan. @default none */
  readonly notes?: readonly string[]
}

/** Of values on evenly spaced levels whose zeros are levels. */
export const gridForm = (described: PareWeight): StepForm | undefined =>
  described.kind === 'grid' && described.zeroType === undefined ? described : undefined

/** `model.layers.0.mlp.up_proj` of its weight. */
export const moduleOf = (name: string): string => name.replace(/\.weight$/, '')

/** What programs that compute several weights as one call the module: that of queries, keys and values, of gate and up, or its own. */
export const fusedModule = (module: string): string =>
  module.replace(/\.[qkv]_proj$/, '.qkv_proj').replace(/\.(?:gate|up)_proj$/, '.gate_up_proj')

/** Name of a float type in safetensors. */
export const floatName = (type: GridForm['scaleType']): 'F16' | 'BF16' | 'F32' =>
  type === 'f16' ? 'F16' : type === 'bf16' ? 'BF16' : 'F32'
