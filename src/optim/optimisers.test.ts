import { expect, test } from 'vitest'
import { adam, adamW } from './adam.ts'
import { type OptimiserUnderTest, optimiserClaims } from './optimiser.suite.ts'
import { type OptimiserName, optimisers } from './optimisers.ts'
import { cosine, warmUp } from './schedules.ts'
import { sgd } from './sgd.ts'

const falling = warmUp({ steps: 3 }, cosine({ from: 0.1, steps: 20 }))

const underTest: Record<OptimiserName, OptimiserUnderTest> = {
  sgd: {
    quadratic: () => sgd({ rate: 0.1 }),
    rosenbrock: () => sgd({ rate: 1e-3, momentum: 0.9, nesterov: true }),
    full: () => sgd({ rate: falling, momentum: 0.9 }),
  },
  adam: {
    quadratic: () => adam({ rate: 0.05 }),
    rosenbrock: () => adam({ rate: 0.02 }),
    full: () => adam({ rate: falling }),
  },
  adamW: {
    quadratic: () => adamW({ rate: 0.05 }),
    rosenbrock: () => adamW({ rate: 0.02, decay: 0 }),
    full: () => adamW({ rate: falling, decay: 0 }),
  },
}

for (const [name, settings] of Object.entries(underTest)) optimiserClaims(name, settings)

test('every optimiser of the table is under test', () => {
  expect(Object.keys(underTest).sort()).toEqual(Object.keys(optimisers).sort())
})
