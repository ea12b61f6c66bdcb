/** Shapes and constants of the llama family: llama, mistral, qwen2, smollm and what stores itself as one of them. */
import { FormatError, printable } from '../../tensor/errors.ts'

export type RotaryScaling =
  | { kind: 'none' }
  /** Positions divided by `factor`. */
  | { kind: 'linear'; factor: number }
  /** Llama 3.1: long wavelengths divided by `factor`, short ones kept, a ramp between. */
  | { kind: 'llama3'; factor: number; lowFactor: number; highFactor: number; originalContext: number }
  /** One divisor a frequency, as a GGUF stores it in `rope_freqs.weight`. */
  | { kind: 'divisors'; divisors: readonly number[] }

/** One decoder block; widths may differ from block to block. */
export interface LlamaLayer {
  heads: number
  kvHeads: number
  /** Width of the MLP. */
  intermediate: number
}

export interface LlamaConfig {
  /** Name that the model files use: `llama`, `mistral`, `qwen2`. */
  architecture: string
  hidden: number
  layers: readonly LlamaLayer[]
  headSize: number
  vocabulary: number
  /** Longest sequence the model was made for. */
  context: number
  normEpsilon: number
  rotaryBase: number
  rotaryScaling: RotaryScaling
  /** Head and embedding are one tensor. */
  tied: boolean
  /** q, k and v have biases. */
  attentionBias: boolean
  /** Keys farther back than this many tokens are not seen. */
  slidingWindow?: number
}

/** Architectures of config.json that this family computes. */
const modelTypes = ['llama', 'mistral', 'qwen2']

/** More blocks than any model has; a larger number would only fill memory. */
const mostLayers = 10_000

type Json = Record<string, unknown>

function need(config: Json, key: string, fallback?: number): number {
  const value = config[key] ?? fallback
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value
  throw new FormatError(
    `config.json: ${key} must be a positive number, got ${printable(JSON.stringify(value) ?? 'nothing')}`,
  )
}

function whole(config: Json, key: string, fallback?: number): number {
  const value = need(config, key, fallback)
  if (Number.isInteger(value) && value < 2 ** 31) return value
  throw new FormatError(`config.json: ${key} must be a whole number below 2^31, got ${value}`)
}

/** The family's shapes from a Hugging Face config.json. @throws FormatError for architectures it does not compute. */
export function configFromHuggingFace(config: Json): LlamaConfig {
  const architecture = String(config.model_type ?? 'nothing')
  if (!modelTypes.includes(architecture)) {
    throw new FormatError(
      `config.json: model_type ${printable(architecture)} is not supported; Pare computes ${modelTypes.join(', ')}`,
      { code: 'PARE_E_ARCHITECTURE', facts: { architecture } },
    )
  }
  const activation = config.hidden_act ?? 'silu'
  if (activation !== 'silu') {
    throw new FormatError(
      `config.json: hidden_act ${printable(String(activation))} is not supported; the family uses silu`,
    )
  }
  if (config.mlp_bias === true)
    throw new FormatError('config.json: mlp_bias is not supported; the family has none')
  const hidden = whole(config, 'hidden_size')
  const heads = whole(config, 'num_attention_heads')
  const layer = {
    heads,
    kvHeads: whole(config, 'num_key_value_heads', heads),
    intermediate: whole(config, 'intermediate_size'),
  }
  const perLayer = Array.isArray(config.pare_layers) ? (config.pare_layers as Json[]) : []
  const count = whole(config, 'num_hidden_layers')
  if (count > mostLayers)
    throw new FormatError(`config.json: ${count} layers are more than any model has; the file is damaged`)
  if (architecture === 'qwen2' && config.use_sliding_window === true) {
    throw new FormatError(
      'config.json: use_sliding_window is not supported for qwen2; Pare computes full attention',
    )
  }
  const window = architecture === 'mistral' ? config.sliding_window : undefined
  return {
    architecture,
    hidden,
    layers: Array.from({ length: count }, (_, i) => layerOf(perLayer[i], layer)),
    headSize: whole(config, 'head_dim', Math.floor(hidden / heads)),
    vocabulary: whole(config, 'vocab_size'),
    context: whole(config, 'max_position_embeddings', 2048),
    normEpsilon: need(config, 'rms_norm_eps', 1e-6),
    rotaryBase: need((config.rope_parameters as Json | undefined) ?? config, 'rope_theta', 10000),
    rotaryScaling: scalingFromHuggingFace(
      (config.rope_scaling ?? config.rope_parameters) as Json | null | undefined,
    ),
    tied: config.tie_word_embeddings === true,
    attentionBias: architecture === 'qwen2' || config.attention_bias === true,
    ...(typeof window === 'number' && window > 0 ? { slidingWindow: window } : {}),
  }
}

/** A block whose widths are its own, where `pare_layers` gives them. */
function layerOf(own: Json | undefined, layer: LlamaLayer): LlamaLayer {
  const width = (key: keyof LlamaLayer) => (own?.[key] === undefined ? layer[key] : whole(own, key))
  return { heads: width('heads'), kvHeads: width('kvHeads'), intermediate: width('intermediate') }
}

function scalingFromHuggingFace(scaling: Json | null | undefined): RotaryScaling {
  const kind = scaling?.rope_type ?? scaling?.type ?? 'default'
  if (!scaling || kind === 'default') return { kind: 'none' }
  if (kind === 'linear') return { kind: 'linear', factor: need(scaling, 'factor') }
  if (kind === 'llama3') {
    return {
      kind: 'llama3',
      factor: need(scaling, 'factor'),
      lowFactor: need(scaling, 'low_freq_factor'),
      highFactor: need(scaling, 'high_freq_factor'),
      originalContext: whole(scaling, 'original_max_position_embeddings'),
    }
  }
  throw new FormatError(
    `config.json: rope scaling ${printable(String(kind))} is not supported; Pare computes linear and llama3`,
  )
}

/** The config.json fields of a model of this family; what a reader of Hugging Face folders expects. */
export function configToHuggingFace(config: LlamaConfig): Json {
  const first = config.layers[0]!
  const uniform = config.layers.every(
    (l) => l.heads === first.heads && l.kvHeads === first.kvHeads && l.intermediate === first.intermediate,
  )
  const className = { llama: 'Llama', mistral: 'Mistral', qwen2: 'Qwen2' }[config.architecture] ?? 'Llama'
  return {
    architectures: [`${className}ForCausalLM`],
    model_type: config.architecture,
    hidden_act: 'silu',
    hidden_size: config.hidden,
    intermediate_size: first.intermediate,
    num_hidden_layers: config.layers.length,
    num_attention_heads: first.heads,
    num_key_value_heads: first.kvHeads,
    head_dim: config.headSize,
    vocab_size: config.vocabulary,
    max_position_embeddings: config.context,
    rms_norm_eps: config.normEpsilon,
    rope_theta: config.rotaryBase,
    rope_scaling: scalingToHuggingFace(config.rotaryScaling),
    tie_word_embeddings: config.tied,
    ...(config.architecture === 'llama' ? { attention_bias: config.attentionBias, mlp_bias: false } : {}),
    ...(config.slidingWindow ? { sliding_window: config.slidingWindow } : {}),
    ...(uniform ? {} : { pare_layers: config.layers }),
  }
}

function scalingToHuggingFace(scaling: RotaryScaling): Json | null {
  switch (scaling.kind) {
    case 'none':
      return null
    case 'linear':
      return { rope_type: 'linear', factor: scaling.factor }
    case 'llama3':
      return {
        rope_type: 'llama3',
        factor: scaling.factor,
        low_freq_factor: scaling.lowFactor,
        high_freq_factor: scaling.highFactor,
        original_max_position_embeddings: scaling.originalContext,
      }
    case 'divisors':
      throw new FormatError(
        'rope_freqs.weight: config.json has no field for free rotary divisors; choose the target gguf',
        { code: 'PARE_E_ROTARY_DIVISORS' },
      )
  }
}
