/** The pruning methods of a training recipe. */

import type { TrainingMethod } from '../../optim/training_method.ts'
import { pruningMethods } from '../../prune/training_methods.ts'
import type { MethodRecipe } from './method_fields.ts'

/** @throws OptionError for numbers that do not fit each other */
export function methodFor({ method, ...options }: MethodRecipe): TrainingMethod {
  // Each schema of `method_fields.ts` allows the options of its own factory.
  const make = pruningMethods[method] as (options: unknown) => TrainingMethod
  return make(options)
}
