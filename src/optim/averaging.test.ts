import { expect, test } from 'vitest'
import { Parameters } from '../nn/parameters.ts'
import { dispose, randomStream, scope, tensor } from '../tensor/index.ts'
import { exponentialAverage } from './averages.ts'
import { averaging } from './averaging.ts'
import { sgd } from './sgd.ts'
import type { StepContext } from './training_method.ts'

/** A parameter, and the method that follows it with a decay of one half. */
function made() {
  const parameters = new Parameters()
  scope(() => {
    parameters.add('w', tensor([1, 2]))
  })
  const method = averaging(exponentialAverage({ decay: 0.5 }))
  const context: StepContext = {
    step: 0,
    epoch: 0,
    parameters,
    layers: [],
    optimiser: sgd({ rate: 1 })(parameters),
    stream: (name) => randomStream(0, name),
  }
  const now = () => scope(() => [...parameters.get('w').tensor.toArray()])
  const step = (...values: number[]) => {
    scope(() => parameters.assign('w', tensor(values)))
    method.afterUpdate!(context)
  }
  return { parameters, method, context, now, step }
}

test('by hand: after 1 2, 3 4 and 7 0 the result is 4.5 1.5', () => {
  const { method, context, now, step } = made()
  method.prepare!(context)
  step(1, 2)
  step(3, 4)
  step(7, 0)
  expect(now()).toEqual([7, 0])
  method.finish!(context)
  // (1 + 3) / 2 = 2, (2 + 7) / 2 = 4.5; (2 + 4) / 2 = 3, (3 + 0) / 2 = 1.5
  expect(now()).toEqual([4.5, 1.5])
})
test('an evaluation sees the averages, and the parameters come back', () => {
  const { method, context, now, step } = made()
  method.prepare!(context)
  step(1, 2)
  step(3, 4)
  expect(method.during(now)).toEqual([2, 3])
  expect(now()).toEqual([3, 4])
  expect(() =>
    method.during(() => {
      throw new Error('broken')
    }),
  ).toThrow('broken')
  expect(now()).toEqual([3, 4])
})
test('it goes on from its state to the same averages', () => {
  const [first, second] = [made(), made()]
  first.method.prepare!(first.context)
  first.step(1, 2)
  first.step(3, 4)
  const state = first.method.state!()
  second.method.prepare!(second.context)
  second.method.load!(state)
  dispose(Object.values(state))
  for (const { method, context, step } of [first, second]) {
    step(7, 0)
    method.finish!(context)
  }
  expect(second.now()).toEqual(first.now())
})
test('before the training is prepared there is nothing to follow', () => {
  expect(() => made().step(1, 2)).toThrow(/before the training was prepared/)
})
