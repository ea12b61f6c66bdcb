/** Weights whose input channels may be scaled against what comes before them, without a change of what a model computes. */
import type { Linear } from '../nn/linear.ts'
import { OptionError } from '../tensor/errors.ts'
import type { Tensor } from '../tensor/index.ts'
import { LlamaBlock } from './llama/block.ts'
import { llamaScaling, llamaScalingNames } from './llama/scaling_groups.ts'
import type { OpenCompressible } from './open_model.ts'
import type { Stage, StageContext } from './stage.ts'

/** Weights that share one input, and so its scales; names are those of the model's file. */
export interface ScalingNames {
  /** What stands before them: a norm, or a linear layer whose outputs are scaled. */
  readonly kind: 'norm' | 'linear'
  /** Tensors before them whose rows (of vectors: elements) are divided by the scales. */
  readonly divided: readonly string[]
  /** Weights whose columns are multiplied by the scales. */
  readonly weights: readonly string[]
}

/** The same of a loaded stage. */
export interface ScalingGroup extends Omit<ScalingNames, 'weights'> {
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

/** @param method whose name the error has @throws OptionError for what is no block of the llama family */
export function scalingOf(stage: Stage, method: string): StageScaling {
  if (stage instanceof LlamaBlock) return llamaScaling(stage)
  throw noScaling(method)
}

/**
 * The groups of all stages, known from headers alone.
 *
 * @param method whose name the error has
 * @throws OptionError for text encoders
 */
export function scalingNames(
  source: Pick<OpenCompressible, 'family' | 'model'>,
  method: string,
): ScalingNames[] {
  const { family, model } = source as OpenCompressible
  if (family !== 'llama') throw noScaling(method)
  return model.stages.flatMap((_, block) => llamaScalingNames(model.config, block))
}

const noScaling = (method: string) =>
  new OptionError(
    `--method: ${method} scales what a norm hands to weights alone, as in models of the llama family, but the norms of a text encoder feed its residual too; choose another method, such as gptq`,
    { code: 'PARE_E_NO_SCALING', facts: { method } },
  )
