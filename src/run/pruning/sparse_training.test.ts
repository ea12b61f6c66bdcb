import { expect, test } from 'vitest'
import { adam } from '../../optim/adam.ts'
import type { OptimiserFor } from '../../optim/optimiser.ts'
import { sgd } from '../../optim/sgd.ts'
import type { TrainingMethod } from '../../optim/training_method.ts'
import type { TrainingBatch } from '../../optim/training_task.ts'
import { rigl, set, staticSparse } from '../../prune/sparse_training.ts'
import type { Tensor } from '../../tensor/index.ts'
import type { Trainer } from '../../train/trainer.ts'
import { matrices, numbersOf, on, training } from './small_task.suite.ts'

const moving = {
  sparsity: 0.8,
  distribution: { kind: 'erk' },
  begin: 1,
  every: 2,
  end: 60,
  drop: 0.5,
} as const
const population = (masks: ReadonlyMap<string, Uint8Array>) =>
  [...masks.values()].map((mask) => mask.reduce((sum, bit) => sum + bit, 0))
/** Shows the gradients that a method gets, which come before it in the list of methods. */
const watch = (see: (gradients: ReadonlyMap<string, Tensor>) => void): TrainingMethod<TrainingBatch> => ({
  name: 'watch',
  clipped(gradients) {
    see(gradients)
    return gradients
  },
})

test.each([
  ['set', set],
  ['rigl', rigl],
])(
  '%s: mask population constant, moments 0 at new connections, no update on mask steps, pruned weights 0',
  (_, make) => {
    on(() => {
      const method = make(moving)
      const { task, trainer } = training([method], adam({ rate: 0.01 }))
      trainer.state()
      const counts = population(method.masks())
      let moved = 0
      let updates = 0
      for (let step = 0; step < 42; step++) {
        const before = new Map(method.masks())
        const weightsBefore = new Map(
          matrices.map((path) => [path, numbersOf(task.parameters.get(path).tensor)]),
        )
        const biasBefore = numbersOf(task.parameters.get('layer.0.bias').tensor)
        const stepsBefore = trainer.optimiser.steps
        trainer.next()
        const isMaskStep = step > 0 && step % 2 === 0
        updates += isMaskStep ? 1 : 0
        expect(trainer.optimiser.steps - stepsBefore).toBe(isMaskStep ? 0 : 1)
        expect(population(method.masks())).toEqual(counts)
        if (isMaskStep) expect(numbersOf(task.parameters.get('layer.0.bias').tensor)).toEqual(biasBefore)
        for (const [path, mask] of method.masks()) {
          const weights = numbersOf(task.parameters.get(path).tensor)
          expect(weights.every((weight, i) => mask[i] === 1 || weight === 0)).toBe(true)
          if (!isMaskStep) {
            expect(mask).toEqual(before.get(path))
            continue
          }
          const fresh = [...mask.keys()].filter((i) => mask[i] === 1 && before.get(path)![i] === 0)
          moved += fresh.length
          for (const moment of ['first', 'second']) {
            const values = numbersOf(trainer.optimiser.states().get(`${path}/${moment}`)!.tensor())
            expect(fresh.every((i) => values[i] === 0)).toBe(true)
          }
          // What stayed did not move, and what is new begins at 0.
          for (const [i, weight] of weights.entries())
            expect(weight).toBe(mask[i] && before.get(path)![i] ? weightsBefore.get(path)![i] : 0)
        }
      }
      expect(updates).toBe(20)
      expect(moved).toBeGreaterThan(20)
    })
  },
)
test('rigl grows where the dense gradient is largest, of all that did not survive', () => {
  on(() => {
    let gradients = new Map<string, number[]>()
    const look = watch((all) => {
      gradients = new Map([...all].map(([path, gradient]) => [path, numbersOf(gradient)]))
    })
    const method = rigl({ ...moving, every: 1 })
    const { task, trainer } = training([look, method])
    trainer.next()
    const path = matrices[0]!
    const [before, weights] = [method.masks().get(path)!, numbersOf(task.parameters.get(path).tensor)]
    trainer.next()
    const [mask, gradient] = [method.masks().get(path)!, gradients.get(path)!]
    expect(gradient.filter((g, i) => before[i] === 0 && g !== 0).length).toBeGreaterThan(30)
    const active = [...before.keys()].filter((i) => before[i] === 1)
    const survivors = active
      .sort((a, b) => Math.abs(weights[b]!) - Math.abs(weights[a]!))
      .slice(0, mask.filter((bit, i) => bit === 1 && before[i] === 1).length)
    const grown = [...mask.keys()].filter((i) => mask[i] === 1 && !survivors.includes(i))
    const others = [...mask.keys()].filter((i) => mask[i] === 0)
    expect(grown.length).toBeGreaterThan(3)
    expect(Math.min(...grown.map((i) => Math.abs(gradient[i]!)))).toBeGreaterThanOrEqual(
      Math.max(...others.map((i) => Math.abs(gradient[i]!))),
    )
  })
})
test('the first forward is sparse, and static masks never change', () => {
  on(() => {
    const method = staticSparse({ sparsity: 0.75, pattern: { kind: 'n:m', n: 1, m: 4 } })
    const { task, trainer } = training([method])
    trainer.state()
    const masks = method.masks()
    const zeros = () =>
      matrices.map((path) =>
        numbersOf(task.parameters.get(path).tensor).map((weight) => (weight === 0 ? 0 : 1)),
      )
    const wanted = matrices.map((path) => [...masks.get(path)!])
    expect(zeros()).toEqual(wanted)
    for (let step = 0; step < 10; step++) {
      trainer.next()
      expect(zeros()).toEqual(wanted)
    }
    expect(method.masks()).toEqual(masks)
    expect(population(masks)).toEqual([24, 24, 8])
  })
})
test('the norm that clips counts the gradients of pruned weights', () => {
  on(() => {
    const squares: number[] = []
    const look = watch((gradients) => {
      for (const gradient of gradients.values()) squares.push(gradient.square().sum().item())
    })
    const { trainer } = training([look, staticSparse({ sparsity: 0.9 })])
    expect(trainer.next()!.gradientNorm).toBeCloseTo(Math.sqrt(squares.reduce((a, b) => a + b)), 5)
  })
})
/** Entries that a step of rigl grows after 30 steps, their weights one step later, and the gradients of that. */
function regrown(optimiser: OptimiserFor, age: (trainer: Trainer<TrainingBatch>) => void = () => {}) {
  const gradients = new Map<string, number[]>()
  const look = watch((all) => {
    for (const path of matrices) gradients.set(path, numbersOf(all.get(path)!))
  })
  const method = rigl({ ...moving, begin: 30, every: 30, drop: () => 0.5 })
  const { task, trainer } = training([look, method], optimiser)
  for (let step = 0; step < 30; step++) trainer.next()
  age(trainer)
  const before = method.masks()
  trainer.next()
  const after = method.masks()
  trainer.next()
  return matrices.flatMap((path) => {
    const weights = numbersOf(task.parameters.get(path).tensor)
    return weights.flatMap((weight, i) =>
      after.get(path)![i]! > before.get(path)![i]! ? [{ weight, gradient: gradients.get(path)![i]! }] : [],
    )
  })
}
test('the first step of Adam at a regrown weight is about 3.16 times the rate; SGD has no such jump', () => {
  on(() => {
    const rate = 1e-3
    // Adam has counted many steps when the connection comes: (1 - beta1) / sqrt(1 - beta2) = sqrt(10).
    const jumps = regrown(adam({ rate }), ({ optimiser }) => {
      const saved = Object.entries(optimiser.state())
      optimiser.load(
        Object.fromEntries(saved.map(([key, x]) => [key, /steps$/.test(key) ? x.mul(0).add(1e5) : x])),
      )
    }).filter(({ gradient }) => Math.abs(gradient) > 1e-4)
    expect(jumps.length).toBeGreaterThan(3)
    for (const { weight } of jumps) expect(Math.abs(weight) / rate).toBeCloseTo(Math.sqrt(10), 2)
    const steps = regrown(sgd({ rate: 0.05, momentum: 0.9 }))
    expect(steps.length).toBeGreaterThan(3)
    for (const { weight, gradient } of steps) expect(weight).toBeCloseTo(-0.05 * gradient, 7)
  })
})
