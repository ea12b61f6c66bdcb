import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { scope, tensor } from '../tensor/index.ts'
import { type AdamSettings, adam, adamW } from './adam.ts'
import { numbersOf, withParameters } from './optimiser.suite.ts'
import type { OptimiserFor } from './optimiser.ts'

/** The parameter after each of these gradients. */
const path = (make: OptimiserFor, start: number, gradients: readonly number[]) =>
  withParameters({ p: tensor([start], [1], 'f64') }, (parameters) => {
    const optimiser = make(parameters)
    const found = gradients.map((gradient) => {
      scope(() => optimiser.step(new Map([['p', tensor([gradient], [1], 'f64')]])))
      return numbersOf(parameters, 'p')[0]!
    })
    optimiser.dispose()
    return found
  })
const settings = { rate: 0.5, betas: [0.5, 0.75], epsilon: 1 } as const

test('two steps of Adam by hand', () => {
  // g = 2: m = 1, v = 1; m / (1 - 1/2) = 2, v / (1 - 3/4) = 4, root 2: 1 - 0.5 * 2 / (2 + 1)
  // g = 0: m = 1/2, v = 3/4; m / (3/4) = 2/3, v / (7/16) = 12/7
  const first = 1 - 1 / 3
  const second = first - (0.5 * (2 / 3)) / (Math.sqrt(12 / 7) + 1)
  const found = path(adam(settings), 1, [2, 0])
  expect(found[0]).toBeCloseTo(first, 15)
  expect(found[1]).toBeCloseTo(second, 15)
})
test('the decay of Adam joins the gradient, that of AdamW shrinks the parameter', () => {
  // Adam: g = 0 + 2 * 1 = 2, as above. AdamW: 1 * (1 - 0.5 * 0.5), and a gradient of 0 moves nothing.
  expect(path(adam({ ...settings, decay: 2 }), 1, [0])[0]).toBeCloseTo(1 - 1 / 3, 15)
  expect(path(adamW({ ...settings, decay: 0.5 }), 1, [0, 0])).toEqual([0.75, 0.5625])
})
test('the first step has the length of the rate, whatever the gradient is', () => {
  for (const gradient of [1e-3, 1, 1e3])
    expect(path(adam({ rate: 0.25 }), 1, [gradient])[0]).toBeCloseTo(0.75, 5)
})
test('defaults are those of PyTorch', () => {
  // The first step of a gradient of 1: 1e-3 / (1 + 1e-8), after 1 - 1e-3 * 0.01 for AdamW.
  expect(path(adam(), 1, [1])[0]).toBeCloseTo(1 - 1e-3 / (1 + 1e-8), 15)
  expect(path(adamW(), 1, [1])[0]).toBeCloseTo(1 - 1e-5 - 1e-3 / (1 + 1e-8), 15)
})
test.each<Partial<AdamSettings>>([
  { rate: -1 },
  { rate: Number.NaN },
  { betas: [1, 0.9] },
  { betas: [0.9, -0.1] },
  { betas: [0.9] as never },
  { epsilon: 0 },
  { decay: -1 },
  { decay: '0.1' as never },
])('%j is refused', (options) => {
  expect(() => adam(options)).toThrow(OptionError)
  expect(() => adamW({ groups: [{ match: '**', ...options }] })).toThrow(/^adamW: groups\[0\]: /)
})
