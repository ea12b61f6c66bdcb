import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { State, scope, type Tensor, tensor } from '../tensor/index.ts'
import { adamW } from './adam.ts'
import { numbersOf, withParameters } from './optimiser.suite.ts'
import { optimiserOf, type UpdateRule } from './optimiser.ts'
import { linear } from './schedules.ts'
import type { CommonSettings } from './settings.ts'
import { sgd } from './sgd.ts'

const model = () => ({
  'embed.weight': tensor([1]),
  'layers.0.weight': tensor([1]),
  'layers.0.bias': tensor([1]),
  'layers.1.weight': tensor([1]),
})
const ones = () => new Map(Object.keys(model()).map((path) => [path, tensor([1])]))

test('groups have rates, decays and schedules of their own, and later ones win', () => {
  withParameters(model(), (parameters) => {
    const optimiser = sgd({
      rate: 0.5,
      decay: 1,
      groups: [
        { match: 'layers', rate: linear({ from: 0.25, to: 0.125, steps: 2 }) },
        { match: ['**.bias', 're:^embed'], decay: 0 },
        { match: 'layers.1', rate: 0 },
      ],
    })(parameters)
    const rates = () => [...parameters.states().keys()].map((path) => optimiser.rate(path))
    expect(rates()).toEqual([0.5, 0.25, 0.25, 0])
    scope(() => optimiser.step(ones()))
    // 1 - rate * (1 + decay)
    expect([...parameters.states().keys()].map((path) => numbersOf(parameters, path)[0])).toEqual([
      0.5, 0.5, 0.75, 1,
    ])
    expect(rates()).toEqual([0.5, 0.1875, 0.1875, 0])
  })
})
test('a group whose pattern takes nothing is refused, with the nearest names', () => {
  withParameters(model(), (parameters) => {
    const make = adamW({ groups: [{ match: 'layer.0', decay: 0 }] })
    expect(() => make(parameters)).toThrow(OptionError)
    expect(() => make(parameters)).toThrow(/layer\.0; nearest are layers\.0/)
  })
})
test('groups that do not fit together are refused with the path, before anything moves', () => {
  withParameters(model(), (parameters) => {
    const optimiser = sgd({
      rate: 0.5,
      momentum: 0.5,
      groups: [
        { match: 'layers', nesterov: true },
        { match: 'layers.1', dampening: 0.5 },
      ],
    })(parameters)
    expect(() => optimiser.step(ones())).toThrow(/^sgd: groups of layers\.1\.weight: nesterov needs/)
    expect(numbersOf(parameters, 'embed.weight')).toEqual([1])
  })
})
test('a setting that there is not is refused with those that there are', () => {
  expect(() => sgd({ weightDecay: 0.1 } as never)).toThrow(
    /^sgd: weightDecay is no setting; there are rate, momentum, dampening, nesterov, decay/,
  )
  expect(() => sgd({ groups: [{ match: '**', lr: 0.1 } as never] })).toThrow(
    /^sgd: groups\[0\]: lr is no setting/,
  )
})
test('a setting that is undefined takes its default', () => {
  withParameters(model(), (parameters) => {
    expect(sgd({ rate: undefined as never })(parameters).rate('embed.weight')).toBe(1e-3)
  })
})
test('a schedule that leaves its range is refused before anything moves', () => {
  withParameters(model(), (parameters) => {
    const optimiser = sgd({ rate: (step) => (step === 1 ? Number.NaN : 0.5) })(parameters)
    scope(() => optimiser.step(ones()))
    expect(() => optimiser.step(ones())).toThrow(
      /rate of embed\.weight at step 1 must be at least 0, got NaN/,
    )
    expect(numbersOf(parameters, 'embed.weight')).toEqual([0.5])
  })
})
test('buffers are moved by no optimiser', () => {
  withParameters(model(), (parameters) => {
    parameters.addBuffer('mean', tensor([0]))
    expect(() => sgd()(parameters).step(new Map([['mean', tensor([1])]]))).toThrow(/mean is a buffer/)
  })
})
test('parameters of bf16 gather steps that are too small for bf16', () => {
  withParameters({ w: tensor([1], [1], 'bf16') }, (parameters) => {
    const optimiser = sgd({ rate: 2 ** -10 })(parameters)
    const gradient = new Map<string, Tensor>([['w', tensor([-1], [1], 'bf16')]])
    const { tensor: seen } = parameters.get('w')
    for (let t = 0; t < 8; t++) optimiser.step(gradient)
    expect([numbersOf(parameters, 'w')[0], seen.toArray()[0]]).toEqual([1 + 2 ** -7, 1 + 2 ** -7])
  })
})
test('parameters that are gone are forgotten by reset, and new ones begin anew', () => {
  withParameters(model(), (parameters) => {
    const optimiser = sgd({ momentum: 0.5 })(parameters)
    scope(() => optimiser.step(ones()))
    parameters.remove('layers.1.weight')
    parameters.add('adapter', tensor([1]))
    optimiser.reset('layers.0.bias')
    expect([...optimiser.states().keys()]).toEqual(['embed.weight/momentum', 'layers.0.weight/momentum'])
    optimiser.step(new Map([['adapter', tensor([1])]]))
    expect(optimiser.states().get('adapter/momentum')).toBeInstanceOf(State)
    optimiser.dispose()
  })
})
test('a rule of its own: descent by the sign', () => {
  const rule: UpdateRule<CommonSettings> = {
    name: 'sign',
    defaults: { rate: 0.25 },
    check: () => {},
    moments: () => [],
    update: ({ parameter, gradient, rate, scale }) =>
      scope(() => parameter.assign(parameter.tensor().sub(gradient.mul(scale).sign().mul(rate)))),
  }
  withParameters(model(), (parameters) => {
    const optimiser = optimiserOf(rule, { groups: [{ match: 'embed', rate: 0.5 }] })(parameters)
    scope(() => optimiser.step(ones()))
    expect([...parameters.states().keys()].map((path) => numbersOf(parameters, path)[0])).toEqual([
      0.5, 0.75, 0.75, 0.75,
    ])
  })
})
