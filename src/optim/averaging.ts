/** Averages of the parameters as a training method: the result of the training has them. */
import type { Average, AverageFor } from './averages.ts'
import type { TrainingMethod } from './training_method.ts'

export interface AveragingMethod extends TrainingMethod {
  /** Runs `body`, which may be asynchronous, with the averages in the place of the parameters. */
  during<T>(body: () => T): T
}

/**
 * Follows the parameters after each step, and puts the averages in their place when the training is finished.
 *
 * @example new Trainer({ task, loader, optimiser, methods: [averaging(exponentialAverage({ decay: 0.99 }))] })
 */
export function averaging(make: AverageFor): AveragingMethod {
  let average: Average | undefined
  const current = (): Average => {
    if (average) return average
    throw new Error('averaging is asked before the training was prepared')
  }
  return {
    name: 'average',
    prepare({ parameters }) {
      average?.dispose()
      average = make(parameters)
    },
    afterUpdate: () => current().update(),
    finish({ parameters }) {
      for (const [path, state] of current().states()) parameters.assign(path, state.tensor())
    },
    during: (body) => current().during(body),
    state: () => current().state(),
    load: (saved) => current().load(saved),
    dispose: () => average?.dispose(),
  }
}
