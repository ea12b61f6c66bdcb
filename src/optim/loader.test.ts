import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OptionError, StateError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import type { Examples } from './examples.ts'
import { createLoader, type EpochOrder, type LoaderOptions, type LoaderState } from './loader.ts'
import type { Loader } from './training_task.ts'

interface Drawn {
  ids: number[]
  noise: number
}
/** Batches that show their ids and what they drew. */
const numbers = (count: number, fingerprint = `${count} numbers`): Examples<Drawn> => ({
  name: 'numbers',
  count,
  fingerprint,
  batch: (ids, random) => ({ ids: [...ids], noise: random.integer(2 ** 32) }),
})
const all = (loader: Loader<Drawn>): Drawn[] => {
  const batches: Drawn[] = []
  for (let batch = loader.next(); batch; batch = loader.next()) batches.push(batch)
  return batches
}
const idsOf = (batches: Drawn[]) => batches.flatMap(({ ids }) => ids)
const byValue = (a: number, b: number) => a - b
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
const sizes = fc.record({
  count: fc.integer({ min: 1, max: 40 }),
  batch: fc.integer({ min: 1, max: 40 }),
  seed: fc.nat(),
  dropLast: fc.boolean(),
})

describe('an epoch', () => {
  test('has every example once, or with dropLast all but fewer than a batch', () => {
    fc.assert(
      fc.property(sizes, ({ count, batch, seed, dropLast }) => {
        fc.pre(!dropLast || batch <= count)
        const batches = all(createLoader(numbers(count), { batch, dropLast, seed, epochs: 1 }))
        const ids = idsOf(batches).sort(byValue)
        if (!dropLast) expect(ids).toEqual(upTo(count))
        expect(new Set(ids).size).toBe(dropLast ? count - (count % batch) : count)
        for (const { ids } of batches.slice(0, dropLast ? undefined : -1)) expect(ids.length).toBe(batch)
      }),
      { numRuns: 60 },
    )
  })
  test('has another order than the one before, and than that of another seed', () => {
    const ids = idsOf(all(createLoader(numbers(50), { batch: 10, dropLast: false, seed: 3, epochs: 2 })))
    const other = idsOf(all(createLoader(numbers(50), { batch: 10, dropLast: false, seed: 4, epochs: 1 })))
    const epochs = [ids.slice(0, 50), ids.slice(50), other].map((order) => order.join())
    expect(new Set(epochs).size).toBe(3)
  })
  test('can be in order, or in any order that a function gives', () => {
    const inOrder = createLoader(numbers(5), { batch: 2, dropLast: false, epochs: 2, order: 'in order' })
    expect(all(inOrder).map(({ ids }) => ids)).toEqual([[0, 1], [2, 3], [4], [0, 1], [2, 3], [4]])
    const order: LoaderOptions['order'] = (epoch) => Uint32Array.of(epoch, epoch, 4)
    const chosen = createLoader(numbers(5), { batch: 2, dropLast: false, epochs: 2, order })
    expect(all(chosen).map(({ ids }) => ids)).toEqual([[0, 0], [4], [1, 1], [4]])
  })
})

describe('a position', () => {
  test('taken anywhere goes on with the same batches, through JSON', () => {
    fc.assert(
      fc.property(sizes, fc.nat(30), ({ count, batch, seed, dropLast }, before) => {
        fc.pre(!dropLast || batch <= count)
        const options = { batch, dropLast, seed, epochs: 3 }
        const first = createLoader(numbers(count), options)
        for (let i = 0; i < before; i++) first.next()
        const saved = JSON.parse(JSON.stringify(first.state()))
        const second = createLoader(numbers(count), options)
        second.load(saved)
        expect(second.state()).toEqual(saved)
        expect(all(second)).toEqual(all(first))
      }),
      { numRuns: 60 },
    )
  })
  test('is not that of the loader that was asked for more batches later', () => {
    const loader = createLoader(numbers(9), { batch: 3, dropLast: true, seed: 1 })
    loader.next()
    const [state, next] = [loader.state(), loader.next()]
    loader.next()
    loader.load(state)
    expect(loader.next()).toEqual(next)
  })
  test('of other data, batches, seeds, or with damaged fields is refused', () => {
    const options = { batch: 3, dropLast: true, seed: 1 }
    const loader = createLoader(numbers(9), options)
    loader.next()
    const state = loader.state() as LoaderState
    const refuse = (examples: Examples<Drawn>, given: LoaderOptions, changes: object = {}) =>
      expect(() => createLoader(examples, given).load({ ...state, ...changes })).toThrow(StateError)
    refuse(numbers(9, 'other'), options)
    refuse(numbers(9), { ...options, batch: 4 })
    refuse(numbers(9), { ...options, dropLast: false })
    refuse(numbers(9), { ...options, seed: 2 })
    for (const wrong of [-1, 0.5, 9, Number.NaN, '3', undefined])
      refuse(numbers(9), options, { taken: wrong as number })
    refuse(numbers(9), options, { epoch: -1 })
    refuse(numbers(9), options, { order: undefined })
    expect(() => createLoader(numbers(9), options).load(null as never)).toThrow(StateError)
  })
})

describe('an order', () => {
  const forwards: EpochOrder = (_epoch, _random, count) => Uint32Array.from({ length: count }, (_, i) => i)
  const backwards: EpochOrder = (_epoch, _random, count) =>
    Uint32Array.from({ length: count }, (_, i) => count - 1 - i)
  /** Of a name that a given one has. */
  const shuffled: EpochOrder = (...given) => backwards(...given)
  const loaderOf = (order: EpochOrder | 'shuffled' | 'in order') =>
    createLoader(numbers(10), { batch: 2, dropLast: true, order })
  const position = (order: EpochOrder | 'shuffled' | 'in order', batches: number) => {
    const loader = loaderOf(order)
    for (let i = 0; i < batches; i++) loader.next()
    return JSON.parse(JSON.stringify(loader.state()))
  }
  test('goes on with its own positions and refuses those of others, inside an epoch and between two', () => {
    const orders = ['shuffled', 'in order', forwards, backwards, shuffled] as const
    for (const batches of [0, 2, 5])
      for (const saved of orders)
        for (const order of orders) {
          const load = () => loaderOf(order).load(position(saved, batches))
          if (order === saved) load()
          else expect(load, `${String(saved)} into ${String(order)}`).toThrow(StateError)
        }
  })
  test('is named by the error, and a position without its name is refused', () => {
    expect(() => loaderOf('shuffled').load(position('in order', 2))).toThrow(
      'the saved position has the order in order, this run shuffled',
    )
    const { orderName: _, ...nameless } = position('shuffled', 2)
    expect(() => loaderOf('shuffled').load(nameless)).toThrow('has the order no name, this run shuffled')
  })
  test('needs a name', () => {
    expect(() =>
      loaderOf(
        (
          () => (_epoch: number) =>
            Uint32Array.of(0, 1)
        )(),
      ),
    ).toThrow(OptionError)
  })
  test('is told the examples of a batch', () => {
    const given: number[] = []
    const order: EpochOrder = (_epoch, _random, count, batch) => {
      given.push(batch)
      return forwards(0, _random, count, batch)
    }
    loaderOf(order).next()
    expect(given).toEqual([2])
  })
})
test('a position that is refused leaves the loader where it was', () => {
  const options = { batch: 3, dropLast: true, seed: 1 }
  const loader = createLoader(numbers(9), options)
  const other = createLoader(numbers(9), options)
  for (const each of [loader, other]) each.next()
  const ahead = createLoader(numbers(9), options)
  for (let i = 0; i < 5; i++) ahead.next()
  const state = ahead.state() as LoaderState
  const damaged = { ...state.augmentation, position: '-' }
  for (const changes of [{ augmentation: damaged }, { taken: 9 }, { taken: 8 }, { order: damaged }]) {
    expect(() => loader.load({ ...state, ...changes })).toThrow(StateError)
    expect(loader.state()).toEqual(other.state())
  }
  const rest = (from: Loader<Drawn>) => Array.from({ length: 6 }, () => from.next())
  expect(rest(loader)).toEqual(rest(other))
})

test('no data, too little of it, and impossible options are refused at once', () => {
  const refuse = (count: number, options: LoaderOptions, message: RegExp) => {
    expect(() => createLoader(numbers(count), options)).toThrow(OptionError)
    expect(() => createLoader(numbers(count), options)).toThrow(message)
  }
  refuse(0, { batch: 1, dropLast: false }, /numbers: has no examples/)
  refuse(3, { batch: 4, dropLast: true }, /a batch needs 4 examples, there are 3/)
  refuse(3, { batch: 0, dropLast: true }, /batch: a whole number/)
  refuse(3, { batch: 1, dropLast: true, epochs: 0.5 }, /epochs/)
})
test('an order with too few or unknown examples is refused, and does not run forever', () => {
  const wrong = (ids: number[]) =>
    createLoader(numbers(3), { batch: 2, dropLast: true, order: () => Uint32Array.from(ids) })
  expect(() => wrong([]).next()).toThrow(/epoch 0 has 0 examples, a batch needs 2/)
  expect(() => wrong([0, 3]).next()).toThrow(/names example 3, there are 3/)
})
test('what batches draw comes from a stream of its own, which the order does not move', () => {
  const noise = (order: LoaderOptions['order']) =>
    all(createLoader(numbers(8), { batch: 2, dropLast: true, epochs: 2, order: order! })).map((b) => b.noise)
  expect(noise('in order')).toEqual(noise('shuffled'))
  expect(new Set(noise('shuffled')).size).toBe(8)
})
test('a batch belongs to the scope of its caller, and loading leaves no tensor behind', () => {
  const loader = createLoader(numbers(100), { batch: 2, dropLast: true })
  scope(() => loader.next())
  expect(loader.next()?.ids.length).toBe(2)
})
