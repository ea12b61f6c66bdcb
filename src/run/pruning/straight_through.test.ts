import { expect, test } from 'vitest'
import { sgd } from '../../optim/sgd.ts'
import { magnitudeSte, randomSte } from '../../prune/straight_through.ts'
import { OptionError } from '../../tensor/errors.ts'
import { matrices, numbersOf, on, training } from './small_task.suite.ts'

const path = matrices[0]!
const masked = (weights: readonly number[], mask: Uint8Array) =>
  weights.map((weight, i) => (mask[i] ? weight : 0))

test('parameters stay dense, layers see them masked, and the gradient there moves all of them', () => {
  on(() => {
    const method = magnitudeSte({ sparsity: 0.5 })
    let gradient: number[] = []
    const look = {
      name: 'look',
      clipped: (all: ReadonlyMap<string, never>) => {
        gradient = numbersOf(all.get(path)!)
        return all
      },
    }
    const { task, trainer } = training([method, look], sgd({ rate: 1 }))
    trainer.state()
    const weight = task.parameters.get(path).tensor
    const before = numbersOf(weight)
    expect(before.filter((w) => w === 0)).toEqual([])
    const mask = method.masks().get(path)!
    expect(numbersOf(task.layers[0]!.source.dense())).toEqual(masked(before, mask))
    trainer.next()
    const pruned = [...mask.keys()].filter((i) => mask[i] === 0)
    expect(pruned.filter((i) => gradient[i] !== 0).length).toBeGreaterThan(40)
    expect(numbersOf(weight)).toEqual(before.map((w, i) => Math.fround(w - gradient[i]!)))
  })
})
test('masks follow the dense weights at every step, so that weights come back', () => {
  on(() => {
    const method = magnitudeSte({ sparsity: 0.5 })
    const { task, trainer } = training([method], sgd({ rate: 0.5, momentum: 0.9 }))
    trainer.state()
    let back = 0
    for (let step = 0; step < 12; step++) {
      const old = method.masks().get(path)!
      trainer.next()
      const mask = method.masks().get(path)!
      back += mask.filter((bit, i) => bit > old[i]!).length
      const sizes = numbersOf(task.parameters.get(path).tensor).map(Math.abs)
      const least = Math.min(...sizes.filter((_, i) => mask[i] === 1))
      expect(sizes.filter((size, i) => mask[i] === 0 && size > least)).toEqual([])
    }
    expect(back).toBeGreaterThan(0)
  })
})
test('random masks differ from step to step', () => {
  on(() => {
    const method = randomSte({ sparsity: 0.5 })
    const { trainer } = training([method])
    const seen = Array.from({ length: 3 }, () => {
      trainer.next()
      return method.masks().get(path)!.join('')
    })
    expect(new Set(seen).size).toBe(3)
  })
})
test('evaluation goes through the masks; the end of the training writes them into the parameters', () => {
  on(() => {
    const method = magnitudeSte({ sparsity: 0.8 })
    const { task, trainer } = training([method])
    for (let step = 0; step < 4; step++) trainer.next()
    const seen = numbersOf(task.outputs())
    const dense = numbersOf(task.parameters.get(path).tensor)
    trainer.finish()
    expect(numbersOf(task.parameters.get(path).tensor)).toEqual(masked(dense, method.masks().get(path)!))
    trainer.dispose()
    expect(numbersOf(task.outputs())).toEqual(seen)
  })
})
test('a pruned parameter that no layer can see masked is refused by name', () => {
  on(() => {
    const { trainer } = training([
      magnitudeSte({ sparsity: 0.5, distribution: { kind: 'uniform', axes: 1 } }),
    ])
    expect(() => trainer.next()).toThrow(OptionError)
    expect(() => trainer.next()).toThrow(/layer\.0\.bias is read by no layer/)
  })
})
