/** Shapes and constants of the llama family: llama, mistral, qwen2, smollm and what stores itself as one of them. */
import { FormatError, printable } from '../../tensor/errors.ts'
import { type ConfigJson, layerCount, positiveField, wholeField } from '../config_fields.ts'

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
export const modelTypes: readonly string[] = ['llama', 'mistral', 'qwen2']

/** The family's shapes from a Hugging Face config.json. @throws FormatError for architectures it does not compute. */
export function configFromHuggingFace(config: ConfigJson): LlamaConfig {
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
  const hidden = wholeField(config, 'hidden_size')
  const heads = wholeField(config, 'num_attention_heads')
  const layer = {
    heads,
    kvHeads: wholeField(config, 'num_key_value_heads', heads),
    intermediate: wholeField(config, 'intermediate_size'),
  }
  const perLayer = Array.isArray(config.pare_layers) ? (config.pare_layers as ConfigJson[]) : []
  if (architecture === 'qwen2' && config.use_sliding_window === true) {
    throw new FormatError(
      'config.json: use_sliding_window is not supported for qwen2; Pare computes full attention',
    )
  }
  const window = architecture === 'mistral' ? config.sliding_window : undefined
  return {
    architecture,
    hidden,
    layers: Array.from({ length: layerCount(config) }, (_, i) => layerOf(perLayer[i], layer)),
    headSize: wholeField(config, 'head_dim', Math.floor(hidden / heads)),
    vocabulary: wholeField(config, 'vocab_size'),
    context: wholeField(config, 'max_position_embeddings', 2048),
    normEpsilon: positiveField(config, 'rms_norm_eps', 1e-6),
    rotaryBase: positiveField(
      (config.rope_parameters as ConfigJson | undefined) ?? config,
      'rope_theta',
      10000,
    ),
    rotaryScaling: scalingFromHuggingFace(
      (config.rope_scaling ?? config.rope_parameters) as ConfigJson | null | undefined,
    ),
    tied: config.tie_word_embeddings === true,
    attentionBias: architecture === 'qwen2' || config.attention_bias === true,
    ...(typeof window === 'number' && window > 0 ? { slidingWindow: window } : {}),
  }
}

/** A block whose widths are its own, where `pare_layers` gives them. */
function layerOf(own: ConfigJson | undefined, layer: LlamaLayer): LlamaLayer {
  const width = (key: keyof LlamaLayer) => (own?.[key] === undefined ? layer[key] : wholeField(own, key))
  return { heads: width('heads'), kvHeads: width('kvHeads'), intermediate: width('intermediate') }
}

function scalingFromHuggingFace(scaling: ConfigJson | null | undefined): RotaryScaling {
  const kind = scaling?.rope_type ?? scaling?.type ?? 'default'
  if (!scaling || kind === 'default') return { kind: 'none' }
  if (kind === 'linear') return { kind: 'linear', factor: positiveField(scaling, 'factor') }
  if (kind === 'llama3') {
    return {
      kind: 'llama3',
      factor: positiveField(scaling, 'factor'),
      lowFactor: positiveField(scaling, 'low_freq_factor'),
      highFactor: positiveField(scaling, 'high_freq_factor'),
      originalContext: wholeField(scaling, 'original_max_position_embeddings'),
    }
  }
  throw new FormatError(
    `config.json: rope scaling ${printable(String(kind))} is not supported; Pare computes linear and llama3`,
  )
}

/** The config.json fields of a model of this family; what a reader of Hugging Face folders expects. */
export function configToHuggingFace(config: LlamaConfig): ConfigJson {
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

function scalingToHuggingFace(scaling: RotaryScaling): ConfigJson | null {
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
