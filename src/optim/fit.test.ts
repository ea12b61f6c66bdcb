import { expect, test } from 'vitest'
import type { Parameters } from '../nn/parameters.ts'
import { AbortError, NumericalError, OptionError } from '../tensor/errors.ts'
import {
  currentKernels,
  linear,
  randomStream,
  scope,
  type Tensor,
  tensor,
  unrecorded,
  zeros,
} from '../tensor/index.ts'
import { adamW } from './adam.ts'
import { meanAverage } from './averages.ts'
import { type FitOptions, fit as train } from './fit.ts'
import { createLoader } from './loader.ts'
import { numbersOf, withParameters } from './optimiser.suite.ts'
import { cosine } from './schedules.ts'
import { sgd } from './sgd.ts'
import type { Loader } from './training_task.ts'

/** A linear map to be found again from 64 examples. */
const [inputs, wanted] = [randomStream(1, 'x').normal([64, 5]), randomStream(1, 'w').normal([3, 5])]
const targets = linear(inputs, wanted)

interface Pair {
  x: Tensor
  y: Tensor
}
const pairs = (batch = 8): Loader<Pair> =>
  createLoader(
    {
      name: 'pairs',
      count: 64,
      fingerprint: 'pairs',
      batch: (examples) => {
        const ids = tensor(examples, [examples.length], 'u32')
        return { x: inputs.indexSelect(0, ids), y: targets.indexSelect(0, ids) }
      },
    },
    { batch, dropLast: true, seed: 5 },
  )
const lossOf = (parameters: Parameters) => {
  const w = parameters.get('w').tensor
  return ({ x, y }: Pair) => linear(x, w).sub(y).square().mean()
}

/** Options over a model of one weight, from zeros. */
const training = <T>(
  change: Partial<FitOptions<Pair>>,
  body: (options: FitOptions<Pair>, parameters: Parameters, loader: Loader<Pair>) => T,
  dtype: 'f32' | 'bf16' = 'f32',
): T =>
  withParameters({ w: zeros([3, 5], dtype) }, (parameters) => {
    const optimiser = adamW({ rate: cosine({ from: 0.1, to: 0.001, steps: 120 }), decay: 0 })(parameters)
    const loader = pairs()
    const options = { parameters, optimiser, loader, loss: lossOf(parameters), steps: 120 }
    try {
      return body({ ...options, ...change }, parameters, loader)
    } finally {
      optimiser.dispose()
    }
  })

test('a linear map is found again, and every step gives its loss', () => {
  training({}, (options, parameters) => {
    const { losses, skipped } = train(options)
    expect([losses.length, skipped]).toEqual([120, []])
    expect(losses.at(-1)!).toBeLessThan(losses[0]! * 1e-3)
    const truth = Array.from(wanted.toArray() as Float32Array)
    for (const [i, value] of numbersOf(parameters, 'w').entries()) expect(value).toBeCloseTo(truth[i]!, 1)
  })
})
test('a run that was stopped goes on to the same bits', () => {
  const whole = training({ clip: 0.5, steps: 20 }, (options, parameters) => {
    const { losses } = train(options)
    return { losses: [...losses], bytes: parameters.get('w').state.bytes() }
  })
  const saved = training({ clip: 0.5, steps: 9 }, (options, parameters, loader) => {
    train(options)
    return { w: parameters.state(), o: options.optimiser.state(), b: loader.state() }
  })
  training({ clip: 0.5, start: 9, steps: 20 }, (options, parameters, loader) => {
    parameters.load(saved.w)
    options.optimiser.load(saved.o)
    loader.load(JSON.parse(JSON.stringify(saved.b)))
    const { losses } = train(options)
    expect([...losses]).toEqual(whole.losses.slice(9))
    expect(parameters.get('w').state.bytes()).toEqual(whole.bytes)
  })
})
test('four batches in one step move as one batch of all of them', () => {
  const after = (change: Partial<FitOptions<Pair>>) =>
    training({ ...change, steps: 5 }, (options, parameters) => [
      ...train(options).losses,
      ...numbersOf(parameters, 'w'),
    ])
  const whole = after({ loader: pairs(32) })
  const parts = after({ loader: pairs(8), accumulate: 4 })
  // Sums of 32 squares in another order, over 5 steps.
  for (const [i, value] of parts.entries()) expect(value).toBeCloseTo(whole[i]!, 5)
})
test('gradients of bf16 are summed in f32', () => {
  withParameters({ w: tensor([0], [1], 'bf16') }, (parameters) => {
    // In bf16 each of the small ones is lost beside 1.
    const factors = [1, 2 ** -9, 2 ** -9, 2 ** -9, 2 ** -9]
    const w = parameters.get('w').tensor
    train({
      parameters,
      optimiser: sgd({ rate: 5 })(parameters),
      loader: { next: () => factors.shift() },
      loss: (factor) => w.mul(factor).sum(),
      steps: 1,
      accumulate: 5,
    })
    expect(numbersOf(parameters, 'w')[0]).toBeCloseTo(-(1 + 2 ** -7), 6)
  })
})
test('the norm is that before clipping, and clipping limits the step', () => {
  withParameters({ w: tensor([3, 4]) }, (parameters) => {
    const reports: number[] = []
    const w = parameters.get('w').tensor
    train({
      parameters,
      optimiser: sgd({ rate: 1 })(parameters),
      loader: { next: () => null },
      loss: () => w.square().sum().mul(0.5),
      steps: 1,
      clip: 2.5,
      onStep: ({ gradientNorm }) => reports.push(gradientNorm),
    })
    expect(reports).toEqual([5])
    for (const [i, value] of numbersOf(parameters, 'w').entries()) expect(value).toBeCloseTo([1.5, 2][i]!, 5)
  })
})
test('a loss that is not finite ends the run with its parameter, or its step is left out', () => {
  const broken = (parameters: Parameters) => {
    let calls = 0
    const loss = lossOf(parameters)
    return (pair: Pair) => (calls++ === 2 ? loss(pair).mul(Number.NaN) : loss(pair))
  }
  training({ steps: 4 }, (options, parameters) => {
    const run = () => train({ ...options, loss: broken(parameters) })
    expect(run).toThrow(NumericalError)
  })
  training({ steps: 4 }, (options, parameters) => {
    expect(() => train({ ...options, loss: broken(parameters) })).toThrow(
      /^step 3: the gradient of w is not finite \(loss NaN\)/,
    )
    expect(options.optimiser.steps).toBe(2)
  })
  training({ steps: 4, skipAtMost: 1 }, (options, parameters) => {
    const seen: boolean[] = []
    const { losses, skipped } = train({
      ...options,
      loss: broken(parameters),
      onStep: ({ skipped }) => seen.push(skipped !== undefined),
    })
    expect([skipped, seen, losses[2]]).toEqual([[3], [false, false, true, false], Number.NaN])
    expect(options.optimiser.steps).toBe(3)
    expect(numbersOf(parameters, 'w').every(Number.isFinite)).toBe(true)
  })
})
test('a step that is left out leaves running statistics as they were before it', () => {
  training({ steps: 3, skipAtMost: 1 }, (options, parameters) => {
    const mean = scope(() => parameters.addBuffer('running', zeros([1])))
    const seen: number[][] = []
    let step = 0
    train({
      ...options,
      loss: (pair) => {
        const factor = ++step === 2 ? Number.NaN : 1
        unrecorded(() => scope(() => mean.assign(tensor([step * factor], [1]))))
        return lossOf(parameters)(pair).mul(factor)
      },
      onStep: () => void seen.push(numbersOf(parameters, 'running')),
    })
    expect(seen).toEqual([[1], [1], [3]])
  })
})
test('masks are applied after every update, and averages follow them', () => {
  training({ steps: 6 }, (options, parameters) => {
    const mask = scope(() => randomStream(2, 'mask').bernoulli(0.5, [3, 5]).cast('f32'))
    const average = meanAverage()(parameters)
    train({
      ...options,
      average,
      afterUpdate: () => scope(() => parameters.assign('w', parameters.get('w').tensor.mul(mask))),
    })
    const kept = Array.from(mask.toArray() as Float32Array)
    const averaged = average.states().get('w')!.tensor().toArray() as Float32Array
    expect(average.updates).toBe(6)
    for (const [i, value] of numbersOf(parameters, 'w').entries()) {
      expect(value === 0).toBe(kept[i] === 0)
      expect(averaged[i] === 0).toBe(kept[i] === 0)
    }
    average.dispose()
  })
})
test('a signal stops it between two steps', () => {
  training({}, (options) => {
    const stop = new AbortController()
    const run = () =>
      train({ ...options, signal: stop.signal, onStep: ({ step }) => void (step === 3 && stop.abort()) })
    expect(run).toThrow(AbortError)
    expect(options.optimiser.steps).toBe(3)
  })
})
test('frozen parameters stay, and steps leave no memory behind', () => {
  training({ steps: 3, accumulate: 2 }, (options, parameters) => {
    parameters.add('other', tensor([1]))
    parameters.freeze('other')
    train(options)
    const before = currentKernels().memory().tensors
    train({ ...options, start: 3, steps: 6 })
    expect(currentKernels().memory().tensors).toBe(before)
    expect(numbersOf(parameters, 'other')).toEqual([1])
  })
})
test('counts that are not whole are refused', () => {
  training({}, (options) => {
    for (const wrong of [
      { steps: 1.5 },
      { steps: 2, start: 3 },
      { start: -1 },
      { accumulate: 0 },
      { skipAtMost: -1 },
    ])
      expect(() => train({ ...options, ...wrong })).toThrow(OptionError)
  })
})
test('it ends where the data ends', () => {
  training({}, (options) => {
    let left = 5
    const loader = pairs()
    const { losses } = train({
      ...options,
      accumulate: 2,
      loader: { next: () => (left-- > 0 ? loader.next() : undefined) },
    })
    expect(losses.length).toBe(3)
  })
})
