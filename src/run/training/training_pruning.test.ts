import { expect, test } from 'vitest'
import { Parameters } from '../../nn/parameters.ts'
import { scope, tensor } from '../../tensor/index.ts'
import type { MethodRecipe } from './method_fields.ts'
import { methodFor } from './training_pruning.ts'

const sparsity = 0.5
const recipes: MethodRecipe[] = [
  { method: 'gmp', sparsity, end: 10 },
  { method: 'magnitude', sparsity },
  { method: 'global_magnitude', sparsity },
  { method: 'static_sparse', sparsity },
  { method: 'rigl', sparsity, end: 10 },
  { method: 'gmp', sparsity, end: 10, selection: { except: 'first.weight' } },
]

test.each(recipes)(
  '$method leaves maps of a distillation dense, which are no part of the model',
  (recipe) => {
    const parameters = new Parameters()
    scope(() => {
      for (const path of ['first.weight', 'second.weight', 'distillation.0.weight'])
        parameters.add(path, tensor([1, 2, 3, 4], [2, 2]))
    })
    const method = methodFor(recipe, true)
    method.prepare!({
      step: 0,
      epoch: 0,
      parameters,
      layers: [],
      optimiser: undefined as never,
      stream: () => expect.fail('nothing is drawn'),
    })
    const masked = Object.keys(method.state!()).join(' ')
    expect(masked).toContain('second.weight')
    expect(masked).not.toContain('distillation')
    expect(masked.includes('first.weight')).toBe(!('selection' in recipe))
    method.dispose!()
    parameters.dispose()
  },
)
