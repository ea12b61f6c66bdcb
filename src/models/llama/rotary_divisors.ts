/** Llama 3.1's rotary scaling as one divisor a frequency, the form that GGUF stores. */
import type { LlamaConfig } from './config.ts'
import { rotaryFrequencies } from './rotary_tables.ts'

/** [headSize / 2], or nothing where a GGUF file has no such tensor. */
export function rotaryDivisors(config: LlamaConfig): Float32Array | undefined {
  if (config.rotaryScaling.kind === 'divisors') return Float32Array.from(config.rotaryScaling.divisors)
  if (config.rotaryScaling.kind !== 'llama3') return undefined
  const plain = rotaryFrequencies({ ...config, rotaryScaling: { kind: 'none' } })
  const scaled = rotaryFrequencies(config)
  return Float32Array.from(plain, (frequency, i) => frequency / scaled[i]!)
}
