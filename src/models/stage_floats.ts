/** The plain float tensors of a stage, which tuning may exchange: norms and biases. */

import type { Tensor } from '../tensor/index.ts'
import { LlamaBlock } from './llama/block.ts'
import { blockName } from './llama/names.ts'
import type { Stage } from './stage.ts'

export interface StageFloat {
  /** As in the model's file. */
  readonly name: string
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
              name: linear.name.replace(/\.weight$/, '.bias'),
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
  const norms = (
    [
      ['attentionNorm', 'input_layernorm'],
      ['mlpNorm', 'post_attention_layernorm'],
    ] as const
  ).map(
    ([field, part]): StageFloat => ({
      name: blockName(index, part),
      get: () => weights[field],
      set: (x) => {
        weights[field] = x
      },
    }),
  )
  return [...norms, ...biases]
}
