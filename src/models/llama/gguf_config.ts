/** Shapes of the llama family from GGUF metadata. */
import { FormatError, printable } from '../../tensor/errors.ts'
import type { LlamaConfig, RotaryScaling } from './config.ts'

/** Metadata values by key, numbers where they fit. */
export type Metadata = (key: string) => unknown

const architectures = ['llama', 'qwen2']

/**
 * @param get reads a metadata value
 * @param tensorShape shape of a tensor by its GGUF name, [out, in]
 * @param divisors contents of `rope_freqs.weight`, where the file has it
 */
export function configFromGguf(
  get: Metadata,
  tensorShape: (name: string) => readonly number[] | undefined,
  divisors: readonly number[] | undefined,
): LlamaConfig {
  const architecture = String(get('general.architecture') ?? 'nothing')
  if (!architectures.includes(architecture)) {
    throw new FormatError(
      `general.architecture: ${printable(architecture)} is not supported; Pare computes ${architectures.join(', ')}`,
      { code: 'PARE_E_ARCHITECTURE', facts: { architecture } },
    )
  }
  const number = (key: string, fallback?: number): number => {
    const value = get(`${architecture}.${key}`) ?? fallback
    const plain = typeof value === 'bigint' ? Number(value) : value
    if (typeof plain === 'number' && Number.isFinite(plain) && plain > 0) return plain
    throw new FormatError(
      `${architecture}.${key}: must be a positive number, got ${printable(String(value))}`,
    )
  }
  const whole = (key: string, fallback?: number): number => {
    const value = number(key, fallback)
    if (Number.isInteger(value) && value < 2 ** 31) return value
    throw new FormatError(`${architecture}.${key}: must be a whole number below 2^31, got ${value}`)
  }
  const perLayer = (key: string, layer: number, fallback?: number): number => {
    const value = get(`${architecture}.${key}`)
    if (!Array.isArray(value)) return whole(key, fallback)
    const item = Number(value[layer])
    if (Number.isInteger(item) && item > 0) return item
    throw new FormatError(`${architecture}.${key}: entry ${layer} must be a positive whole number`)
  }
  const hidden = whole('embedding_length')
  const count = whole('block_count')
  if (count > 10_000)
    throw new FormatError(`${architecture}.block_count: ${count} blocks are more than any model has`)
  const layers = Array.from({ length: count }, (_, i) => {
    const heads = perLayer('attention.head_count', i)
    return {
      heads,
      kvHeads: perLayer('attention.head_count_kv', i, heads),
      intermediate: perLayer('feed_forward_length', i),
    }
  })
  const embedding = tensorShape('token_embd.weight')
  if (!embedding)
    throw new FormatError('token_embd.weight: the file has no such tensor; it is not a whole model')
  return {
    architecture,
    hidden,
    layers,
    headSize: whole('attention.key_length', Math.floor(hidden / layers[0]!.heads)),
    vocabulary: embedding[0]!,
    context: whole('context_length', 2048),
    normEpsilon: number('attention.layer_norm_rms_epsilon', 1e-5),
    rotaryBase: number('rope.freq_base', 10000),
    rotaryScaling: scaling(get, architecture, divisors),
    tied: tensorShape('output.weight') === undefined,
    attentionBias: tensorShape('blk.0.attn_q.bias') !== undefined,
  }
}

function scaling(
  get: Metadata,
  architecture: string,
  divisors: readonly number[] | undefined,
): RotaryScaling {
  const kind = get(`${architecture}.rope.scaling.type`) ?? 'none'
  if (divisors) return { kind: 'divisors', divisors }
  if (kind === 'none') return { kind: 'none' }
  const factor = get(`${architecture}.rope.scaling.factor`)
  if (kind === 'linear' && typeof factor === 'number' && factor > 0) return { kind: 'linear', factor }
  throw new FormatError(
    `${architecture}.rope.scaling.type: ${printable(String(kind))} is not supported; Pare computes linear`,
  )
}
