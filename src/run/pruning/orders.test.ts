import { expect, test } from 'vitest'
import { adam } from '../../optim/adam.ts'
import type { TrainingMethod } from '../../optim/training_method.ts'
import type { TrainingBatch } from '../../optim/training_task.ts'
import { pruningMethods } from '../../prune/training_methods.ts'
import { on, smallTask, training } from './small_task.suite.ts'

const steps = 200
const sparsity = 0.7
const { gmp, magnitude, random } = pruningMethods
const schedule = { kind: 'polynomial', begin: 20, end: 150, every: 10 } as const

/** Mean error after equally many steps, over three seeds. */
const errorOf = (make: () => TrainingMethod<TrainingBatch>): number => {
  const errors = [1, 2, 3].map((seed) =>
    on(() => {
      const { task, trainer } = training([make()], adam({ rate: 0.01 }), { task: smallTask({ seed }) })
      for (let step = 0; step < steps; step++) trainer.next()
      trainer.finish()
      return task.error()
    }),
  )
  return errors.reduce((sum, error) => sum + error) / errors.length
}

test('gradual pruning ends far below one shot at the end, and magnitudes below random weights', () => {
  const gradual = errorOf(() => gmp({ sparsity, begin: 20, end: 150, every: 10 }))
  const atTheEnd = errorOf(() => magnitude({ sparsity, schedule: { kind: 'oneShot', at: steps - 1 } }))
  expect(gradual).toBeLessThan(atTheEnd / 2)
  expect(errorOf(() => magnitude({ sparsity, schedule }))).toBeLessThan(
    0.8 * errorOf(() => random({ sparsity, schedule })),
  )
})
