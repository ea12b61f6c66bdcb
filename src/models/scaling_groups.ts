/** Weights whose input channels may be scaled against what comes before them, without a change of what a stage computes. */
import type { Linear } from '../nn/linear.ts'
import { OptionError } from '../tensor/errors.ts'
import type { Tensor } from '../tensor/index.ts'
import { LlamaBlock } from './llama/block.ts'
import { llamaScaling } from './llama/scaling_groups.ts'
import type { Stage, StageContext } from './stage.ts'

/** Weights that share one input, and so its scales. */
export interface ScalingGroup {
  /** What stands before them: a norm, or a linear layer whose outputs are scaled. */
  readonly kind: 'norm' | 'linear'
  /** Tensors before them whose rows (of vectors: elements) are divided by the scales, as in the model's file. */
  readonly divided: readonly string[]
  /** Weights whose columns are multiplied by the scales. */
  readonly linears: readonly Linear[]
  /** The module that they belong to sees tokens beside each other, so that it needs whole sequences. */
  readonly mixesTokens: boolean
  /** What the module puts out from their input x [.., tokens, in], with the weights that the linears hold now. */
  output(x: Tensor, context: StageContext): Tensor
}

/** How a stage can be scaled. */
export interface StageScaling {
  /** In the order of a forward. */
  readonly groups: readonly ScalingGroup[]
  /** Weights whose outputs are multiplied by each other: the error of one output alone says little about them. */
  readonly scoring: readonly Linear[]
}

/**
 * @param method whose name the error has
 * @throws OptionError for stages whose norms feed a sum with the residual too, as those of BERT: no scale can go into them
 */
export function scalingOf(stage: Stage, method: string): StageScaling {
  if (stage instanceof LlamaBlock) return llamaScaling(stage)
  throw new OptionError(
    `--method: ${method} scales what a norm hands to weights alone, as in models of the llama family, but a norm of this model feeds the residual too; choose another method, such as gptq`,
    { code: 'PARE_E_NO_SCALING', facts: { method } },
  )
}
