/** The pruning methods of a training recipe. */

import type { Match } from '../../nn/parameters.ts'
import type { TrainingMethod } from '../../optim/training_method.ts'
import { pruningMethods } from '../../prune/training_methods.ts'
import { distillationPrefix } from '../../train/distillation.ts'
import type { MethodRecipe } from './method_fields.ts'

/**
 * @param hasMaps whether maps of a distillation are trained beside the model; they are no part of it, and stay dense
 * @throws OptionError for numbers that do not fit each other
 */
export function methodFor({ method, ...options }: MethodRecipe, hasMaps: boolean): TrainingMethod {
  // Each schema of `method_fields.ts` allows the options of its own factory.
  const make = pruningMethods[method] as (options: unknown) => TrainingMethod
  return make(hasMaps ? withoutMaps(method, options) : options)
}

interface Selecting {
  selection?: { except?: Match }
  distribution?: { kind: string; except?: Match }
}

function withoutMaps(method: MethodRecipe['method'], options: Selecting): Selecting {
  const except = (given: Match = []) => [...[given].flat(), `${distillationPrefix}**`]
  switch (method) {
    case 'no_prune':
      return options
    case 'gmp':
    case 'global_magnitude':
    case 'global_saliency': {
      const { selection } = options
      return { ...options, selection: { ...selection, except: except(selection?.except) } }
    }
    default: {
      const { distribution = { kind: 'uniform' } } = options
      return { ...options, distribution: { ...distribution, except: except(distribution.except) } }
    }
  }
}
