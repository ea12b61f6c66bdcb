import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { scope, tensor } from '../tensor/index.ts'
import { numbersOf, withParameters } from './optimiser.suite.ts'
import { type SgdSettings, sgd } from './sgd.ts'

/** The parameter after each of these gradients, from 1. */
const path = (options: Partial<SgdSettings>, gradients: readonly number[]) =>
  withParameters({ p: tensor([1]) }, (parameters) => {
    const optimiser = sgd(options)(parameters)
    const found = gradients.map((gradient) => {
      scope(() => optimiser.step(new Map([['p', tensor([gradient])]])))
      return numbersOf(parameters, 'p')[0]!
    })
    optimiser.dispose()
    return found
  })

test.each<[title: string, options: Partial<SgdSettings>, want: number[]]>([
  // 1 - 0.5 * 1, then - 0.5 * 0.5
  ['plain', {}, [0.5, 0.25]],
  // d = 1 + 0.5 * 1, then 0.5 + 0.5 * 0.25
  ['decay', { decay: 0.5 }, [0.25, -0.0625]],
  // m = 1, then 0.5 + 0.5
  ['momentum', { momentum: 0.5 }, [0.5, 0]],
  // The first gradient is whole: m = 1, then 0.5 + 0.75 * 0.5
  ['dampening', { momentum: 0.5, dampening: 0.25 }, [0.5, 0.0625]],
  // d = 1 + 0.5 * 1, then 0.5 + 0.5 * 1
  ['Nesterov', { momentum: 0.5, nesterov: true }, [0.25, -0.25]],
])('two steps by hand: %s', (_, options, want) => {
  expect(path({ rate: 0.5, ...options }, [1, 0.5])).toEqual(want)
})
test('without momentum nothing is kept but the count of steps', () => {
  withParameters({ p: tensor([1]) }, (parameters) => {
    const optimiser = sgd()(parameters)
    optimiser.step(new Map([['p', tensor([1])]]))
    expect(Object.keys(optimiser.state())).toEqual(['steps', 'p/steps'])
    expect(numbersOf(parameters, 'p')[0]).toBeCloseTo(1 - 1e-3, 7)
  })
})
test.each<Partial<SgdSettings>>([
  { rate: -0.1 },
  { momentum: -1 },
  { dampening: Number.NaN },
  { decay: Number.POSITIVE_INFINITY },
  { nesterov: true },
  { nesterov: true, momentum: 0.9, dampening: 0.1 },
  { nesterov: 'yes' as never, momentum: 0.9 },
])('%j is refused', (options) => {
  expect(() => sgd(options)).toThrow(OptionError)
})
