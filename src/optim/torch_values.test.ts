/** Against what PyTorch gives in float64: bench/peers/torch_optimisers.py makes the numbers. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { scope, tensor } from '../tensor/index.ts'
import { adam, adamW } from './adam.ts'
import { exponentialAverage, meanAverage } from './averages.ts'
import { clipFactor, gradientNorm } from './gradients.ts'
import { numbersOf, withParameters } from './optimiser.suite.ts'
import type { OptimiserFor } from './optimiser.ts'
import { cosine, exponential, linear, milestones, type Schedule, stairs } from './schedules.ts'
import { sgd } from './sgd.ts'

interface TorchValues {
  optimisers: Record<string, number[][]>
  schedules: Record<string, number[]>
  clipping: { limit: number; norm: number; gradients: number[][] }[]
  averages: Record<string, number[][]>
}
const torch: TorchValues = JSON.parse(readFileSync(new URL('torch_values.json', import.meta.url), 'utf8'))

const start = () => ({ p: tensor([1, -0.5, 0.25, 2], [4], 'f64') })
const gradientOf = (step: number) => [0, 1, 2, 3].map((index) => (((7 * step + 3 * index) % 11) - 5) / 8)

/** Some tens of roundings of values up to 2, which the two programs make in another order. */
const tolerance = 64 * 2 ** -53
function expectClose(found: readonly number[], want: readonly number[]): void {
  expect(found.length).toBe(want.length)
  for (const [i, value] of found.entries())
    expect(Math.abs(value - want[i]!), `entry ${i}`).toBeLessThan(tolerance)
}

/** The parameter after every step, and what `after` makes of it. */
function run(make: OptimiserFor, after: () => void = () => {}): number[][] {
  return withParameters(start(), (parameters) => follow(parameters, make, after))
}
function follow(parameters: Parameters<OptimiserFor>[0], make: OptimiserFor, after: () => void): number[][] {
  const optimiser = make(parameters)
  const found = [1, 2, 3, 4, 5, 6].map((step) => {
    scope(() => optimiser.step(new Map([['p', tensor(gradientOf(step), [4], 'f64')]])))
    after()
    return numbersOf(parameters, 'p')
  })
  optimiser.dispose()
  return found
}

const optimisers: Record<string, OptimiserFor> = {
  sgd: sgd({ rate: 0.1 }),
  'sgd with decay': sgd({ rate: 0.1, decay: 0.05 }),
  'sgd with momentum': sgd({ rate: 0.1, momentum: 0.9, decay: 0.05 }),
  'sgd with dampening': sgd({ rate: 0.1, momentum: 0.9, dampening: 0.3 }),
  'sgd with Nesterov': sgd({ rate: 0.1, momentum: 0.9, nesterov: true, decay: 0.05 }),
  adam: adam(),
  'adam with decay': adam({ rate: 0.05, betas: [0.8, 0.95], decay: 0.1 }),
  'adam without momentum': adam({ rate: 0.05, betas: [0, 0.95], epsilon: 0.001 }),
  adamW: adamW(),
  'adamW with decay': adamW({ rate: 0.05, betas: [0.3, 0.99], decay: 0.1, epsilon: 1e-6 }),
}
test('every run of PyTorch is compared', () => {
  expect(Object.keys(optimisers).sort()).toEqual(Object.keys(torch.optimisers).sort())
  expect(Object.keys(schedules).sort()).toEqual(Object.keys(torch.schedules).sort())
})
test.each(Object.entries(optimisers))('%s: six steps as in PyTorch', (name, make) => {
  for (const [step, found] of run(make).entries()) expectClose(found, torch.optimisers[name]![step]!)
})

const schedules: Record<string, Schedule> = {
  linear: linear({ from: 0.2, to: 0.8, steps: 5 }),
  cosine: cosine({ from: 0.8, to: 0.05, steps: 11 }),
  milestones: milestones({ from: 0.8, milestones: [2, 5, 9], gamma: 0.3 }),
  stairs: stairs({ from: 0.8, every: 4, gamma: 0.3 }),
  exponential: exponential({ from: 0.8, gamma: 0.7 }),
}
test.each(Object.entries(schedules))('%s: the rates of PyTorch', (name, schedule) => {
  const want = torch.schedules[name]!
  expectClose(
    want.map((_, step) => schedule(step)),
    want,
  )
})

test('norms and clipped gradients are those of PyTorch', () => {
  for (const { limit, norm, gradients } of torch.clipping)
    scope(() => {
      const given = new Map([
        ['a', tensor(gradientOf(1), [4], 'f64')],
        ['b', tensor([0.5, -2, 1], [3], 'f64')],
      ])
      const found = gradientNorm(given)
      expectClose([found.norm], [norm])
      const factor = clipFactor(found.norm, limit)
      const clipped = [...given.values()].map((x) => Array.from(x.mul(factor).toArray() as Float64Array))
      for (const [i, numbers] of clipped.entries()) expectClose(numbers, gradients[i]!)
    })
})

test.each([
  ['exponential', exponentialAverage({ decay: 0.9 })],
  ['mean', meanAverage()],
] as const)('the %s average is that of PyTorch', (name, make) => {
  withParameters(start(), (parameters) => {
    const average = make(parameters)
    const found: number[][] = []
    follow(parameters, sgd({ rate: 0.1 }), () => {
      average.update()
      found.push(Array.from(average.states().get('p')!.tensor().toArray() as Float64Array))
    })
    for (const [step, numbers] of found.entries()) expectClose(numbers, torch.averages[name]![step]!)
    average.dispose()
  })
})
