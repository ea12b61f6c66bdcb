import { expect, test } from 'vitest'
import { adam, adamW } from '../../optim/adam.ts'
import { sgd } from '../../optim/sgd.ts'
import { gmp } from '../../prune/gmp.ts'
import { keptCount } from '../../prune/mask.ts'
import { maskSchedule } from '../../prune/mask_schedule.ts'
import { measureSparsity } from '../../prune/sparsity.ts'
import { OptionError } from '../../tensor/errors.ts'
import { bitsOf, matrices, numbersOf, on, training } from './small_task.suite.ts'

const optimisers = {
  'SGD with momentum': sgd({ rate: 0.05, momentum: 0.9 }),
  'SGD with decay': sgd({ rate: 0.05, momentum: 0.9, decay: 0.01 }),
  Adam: adam({ rate: 0.01, decay: 0.01 }),
  AdamW: adamW({ rate: 0.01, decay: 0.1 }),
}
const zerosIn = (values: readonly number[]) => values.filter((value) => value === 0).length

test('mask equals a full sort oracle; the number of zeros is size - k', () => {
  on(() => {
    const method = gmp({ sparsity: 0.7, begin: 2, end: 3, every: 1 })
    const pruned = training([method])
    const dense = training([])
    for (let step = 0; step < 3; step++) for (const { trainer } of [pruned, dense]) trainer.next()
    for (const path of matrices) {
      const weights = numbersOf(dense.task.parameters.get(path).tensor)
      const k = keptCount(weights.length, 0.7)
      const largest = [...weights.keys()]
        .sort((a, b) => Math.abs(weights[b]!) - Math.abs(weights[a]!))
        .slice(0, k)
      const wanted = weights.map((weight, i) => (largest.includes(i) ? weight : 0))
      expect(numbersOf(pruned.task.parameters.get(path).tensor)).toEqual(wanted)
      expect(zerosIn(wanted)).toBe(weights.length - k)
      expect(method.masks().get(path)).toEqual(Uint8Array.from(wanted, (weight) => (weight === 0 ? 0 : 1)))
    }
  })
})
test('with all-equal weights the mask is all ones, unless the exact count is chosen', () => {
  on(() => {
    for (const [ties, kept] of [
      [undefined, 96],
      ['lowest', 48],
    ] as const) {
      const method = gmp({ sparsity: 0.5, from: 0.5, end: 1, ...(ties && { ties }) })
      const { task, trainer } = training([method])
      const weight = task.parameters.get(matrices[0]!)
      task.parameters.assign(matrices[0]!, weight.tensor.mul(0).add(0.25))
      trainer.state()
      expect(
        method
          .masks()
          .get(matrices[0]!)!
          .reduce((a, b) => a + b),
      ).toBe(kept)
      expect(zerosIn(numbersOf(weight.tensor))).toBe(96 - kept)
    }
  })
})
test('s_f = 0: trajectory bit-identical to dense training', () => {
  for (const optimiser of Object.values(optimisers))
    for (const clip of [undefined, 0.1])
      on(() => {
        const options = clip === undefined ? {} : { clip }
        const dense = training([], optimiser, options)
        const pruned = training([gmp({ sparsity: 0, end: 10, every: 5 })], optimiser, options)
        for (let i = 0; i < 12; i++) expect(pruned.trainer.next()).toEqual(dense.trainer.next())
        expect(bitsOf(pruned.trainer)).toEqual(bitsOf(dense.trainer))
      })
})
test('masks are nested, and measured sparsity equals the schedule at each update within 1 / size', () => {
  on(() => {
    const options = { sparsity: 0.9, from: 0.1, begin: 4, end: 21, every: 4 }
    const method = gmp(options)
    const { task, trainer } = training([method])
    const { sparsity, updates } = maskSchedule({ kind: 'polynomial', convention: 'gmp', ...options })
    let before = new Map<string, Uint8Array>()
    for (let step = 1; step <= 26; step++) {
      trainer.next()
      const masks = new Map(method.masks())
      for (const path of matrices) {
        const mask = masks.get(path)!
        const old = before.get(path)
        if (old) for (const [i, kept] of old.entries()) if (!kept) expect(mask[i]).toBe(0)
        const measured = measureSparsity(new Map([[path, task.parameters.get(path).tensor]])).sparsity
        if (updates(step))
          expect(Math.abs(measured - sparsity(step, 0.9))).toBeLessThanOrEqual(0.5 / mask.length + 1e-12)
        if (step < 4) expect(measured).toBe(0)
        // The last update stands off the grid of 4, 8, .. and is made all the same.
        if (step >= 21) expect(zerosIn([...mask])).toBe(mask.length - keptCount(mask.length, 0.9))
      }
      before = masks
    }
  })
})
test.each(Object.entries(optimisers))(
  'weights at mask 0 are exactly 0 after every step under %s',
  (_, optimiser) => {
    on(() => {
      const method = gmp({ sparsity: 0.8, end: 12, every: 3, selection: { except: matrices[2]! } })
      const { task, trainer } = training([method], optimiser)
      for (let step = 0; step < 16; step++) {
        trainer.next()
        expect([...method.masks().keys()]).toEqual(matrices.slice(0, 2))
        for (const [path, mask] of method.masks()) {
          const weights = numbersOf(task.parameters.get(path).tensor)
          expect(weights.filter((weight, i) => mask[i] === 0 && !Object.is(weight, 0))).toEqual([])
        }
      }
      expect(zerosIn(numbersOf(task.parameters.get(matrices[2]!).tensor))).toBe(0)
    })
  },
)
test('the gradients of pruned weights are zeros, and no part of the norm', () => {
  on(() => {
    const seen: number[] = []
    const method = gmp({ sparsity: 0.9, from: 0.9, end: 1 })
    const { trainer } = training([
      method,
      {
        name: 'look',
        clipped(gradients) {
          for (const [path, mask] of method.masks()) {
            const gradient = numbersOf(gradients.get(path)!)
            seen.push(...gradient.filter((_, i) => mask[i] === 0))
          }
          return gradients
        },
      },
    ])
    trainer.next()
    expect(seen.length).toBeGreaterThan(100)
    expect(zerosIn(seen)).toBe(seen.length)
  })
})
test('weights that are zero by chance bring no pruned ones back', () => {
  on(() => {
    const method = gmp({ sparsity: 0.75, from: 0.75, end: 2, every: 1 })
    const { task, trainer } = training([method], sgd({ rate: 0 }))
    trainer.state()
    const path = matrices[0]!
    const before = method.masks().get(path)!
    task.parameters.assign(path, task.parameters.get(path).tensor.mul(0))
    trainer.next()
    expect(method.masks().get(path)).toEqual(before)
  })
})
test('n:m masks are made once and stay; tensors that m does not divide are refused or pruned one by one', () => {
  on(() => {
    const pattern = { kind: 'n:m', n: 1, m: 3 } as const
    const options = { sparsity: 2 / 3, from: 0.5, begin: 1, end: 5, every: 1, pattern }
    const refused = training([gmp(options)])
    expect(() => refused.trainer.next()).toThrow(OptionError)
    const method = gmp({ ...options, ungrouped: 'unstructured' })
    const { trainer } = training([method])
    trainer.next()
    const [first, second] = matrices.map((path) => method.masks().get(path)!)
    for (let step = 0; step < 6; step++) trainer.next()
    // The second layer has 12 inputs, the others 8.
    expect(method.masks().get(matrices[1]!)).toEqual(second)
    for (let group = 0; group < 96; group += 3)
      expect(second!.slice(group, group + 3).reduce((a, b) => a + b)).toBe(1)
    expect(method.masks().get(matrices[0]!)).not.toEqual(first)
  })
})
test('numbers out of their range are refused before anything is trained', () => {
  for (const wrong of [
    { sparsity: 1, end: 5 },
    { sparsity: 0.5, end: 0 },
    { sparsity: 0.5, from: 0.6, end: 5 },
    { sparsity: 0.5, end: 5, every: 0 },
    { sparsity: 0.5, end: 5, power: 0 },
    { sparsity: 0.5, end: 5, begin: -1 },
  ])
    expect(() => gmp(wrong)).toThrow(OptionError)
})
