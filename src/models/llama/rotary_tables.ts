/** Angles of rotary positions (Su et al., arXiv 2104.09864) with the scalings of the llama family. */
import { type Tensor, tensor } from '../../tensor/index.ts'
import type { LlamaConfig } from './config.ts'

/** Angle per position of each pair of dimensions: base^(-2i / headSize), scaled. [headSize / 2] */
export function rotaryFrequencies({ headSize, rotaryBase, rotaryScaling }: LlamaConfig): number[] {
  return Array.from({ length: headSize / 2 }, (_, i) =>
    scaled(rotaryBase ** ((-2 * i) / headSize), i, rotaryScaling),
  )
}

function scaled(frequency: number, pair: number, scaling: LlamaConfig['rotaryScaling']): number {
  switch (scaling.kind) {
    case 'none':
      return frequency
    case 'linear':
      return frequency / scaling.factor
    case 'divisors':
      return frequency / scaling.divisors[pair]!
    case 'llama3': {
      const { factor, lowFactor, highFactor, originalContext } = scaling
      const turns = (originalContext * frequency) / (2 * Math.PI)
      if (turns > highFactor) return frequency
      if (turns < lowFactor) return frequency / factor
      const share = (turns - lowFactor) / (highFactor - lowFactor)
      return (1 - share) * (frequency / factor) + share * frequency
    }
  }
}

/** Cosines and sines for positions, each [positions, headSize / 2]. */
export function rotaryTables(
  config: LlamaConfig,
  positions: readonly number[],
  dtype: 'f32' | 'f64' = 'f32',
): { cos: Tensor; sin: Tensor } {
  const frequencies = rotaryFrequencies(config)
  const angles = positions.flatMap((position) => frequencies.map((frequency) => position * frequency))
  const shape = [positions.length, frequencies.length]
  return { cos: tensor(angles.map(Math.cos), shape, dtype), sin: tensor(angles.map(Math.sin), shape, dtype) }
}
