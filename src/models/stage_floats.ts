/** The plain float tensors of a stage, which tuning may exchange: norms and biases. */

import type { Tensor } from '../tensor/index.ts'
import { LlamaBlock } from './llama/block.ts'
import type { Stage } from './stage.ts'

export interface StageFloat {
  /** Unique in the stage, such as `norm.0` or the name of the weight with `.bias`. */
  readonly path: string
  get(): Tensor
  /** Takes a tensor of the same shape in its place. */
  set(x: Tensor): void
}

/** Norms of the llama family, and the biases of all linear layers. Norms of other families are not named yet. */
export function floatsOf(stage: Stage): StageFloat[] {
  const biases = stage.segments.flatMap(({ linears }) =>
    linears.flatMap((linear): StageFloat[] =>
      linear.bias
        ? [
            {
              path: `${linear.name}.bias`,
              get: () => linear.bias!,
              set: (x) => {
                linear.bias = x
              },
            },
          ]
        : [],
    ),
  )
  if (!(stage instanceof LlamaBlock)) return biases
  const { weights, index } = stage
  const norms = (['attentionNorm', 'mlpNorm'] as const).map(
    (name): StageFloat => ({
      path: `block.${index}.${name}`,
      get: () => weights[name],
      set: (x) => {
        weights[name] = x
      },
    }),
  )
  return [...norms, ...biases]
}
