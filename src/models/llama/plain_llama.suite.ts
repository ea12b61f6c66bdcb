import type { LlamaConfig } from './config.ts'

/** A model of the sizes that a test asks for, tied and with the rotary angles that llama began with. */
export const plainLlama = (
  sizes: Pick<LlamaConfig, 'hidden' | 'headSize' | 'layers' | 'vocabulary'> & Partial<LlamaConfig>,
): LlamaConfig => ({
  architecture: 'llama',
  context: 64,
  normEpsilon: 1e-5,
  rotaryBase: 10_000,
  rotaryScaling: { kind: 'none' },
  tied: true,
  attentionBias: false,
  ...sizes,
})
