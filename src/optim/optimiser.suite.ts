/** What every optimiser must do, whatever its rule is. */
import { describe, expect, test } from 'vitest'
import { Parameters } from '../nn/parameters.ts'
import { OptionError, ShapeError, StateError } from '../tensor/errors.ts'
import {
  currentKernels,
  type DType,
  randomStream,
  scope,
  setThreads,
  type Tensor,
  tensor,
  threads,
  valueAndGrad,
  zeros,
} from '../tensor/index.ts'
import type { Optimiser, OptimiserFor } from './optimiser.ts'

export interface OptimiserUnderTest {
  /** With settings for the quadratic function, whose curvatures are 1 to 4. */
  quadratic: () => OptimiserFor
  /** With settings for 2000 steps in the valley of Rosenbrock. */
  rosenbrock: () => OptimiserFor
  /** With every moment and no decay. */
  full: () => OptimiserFor
}

/** Parameters by path; disposed of after `body`. */
export function withParameters<T>(tensors: Record<string, Tensor>, body: (parameters: Parameters) => T): T {
  const parameters = new Parameters()
  try {
    for (const [path, x] of Object.entries(tensors)) parameters.add(path, x)
    return body(parameters)
  } finally {
    parameters.dispose()
  }
}

export const numbersOf = (parameters: Parameters, path: string): number[] =>
  Array.from(parameters.get(path).state.tensor().toArray() as ArrayLike<number>)

/** One step against the gradient of a loss. */
export const descend = (parameters: Parameters, optimiser: Optimiser, loss: () => Tensor): number =>
  scope(() => {
    const { value, gradients } = valueAndGrad(loss, parameters.tensors())
    optimiser.step(gradients)
    return value.item()
  })

/** Gradients of step t that no two optimisers of one run share, drawn for every path. */
const drawn = (parameters: Parameters, t: number): Map<string, Tensor> =>
  new Map(
    [...parameters.states()].map(([path, { shape, dtype }]) => {
      const stream = randomStream(t, path)
      return [path, stream.normal(shape, dtype === 'f64' ? 'f64' : 'f32')]
    }),
  )

const steps = (parameters: Parameters, optimiser: Optimiser, from: number, to: number) => {
  for (let t = from; t < to; t++) scope(() => optimiser.step(drawn(parameters, t)))
}

const bits = (record: Record<string, Tensor>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(record).map(([path, x]) => [path, Buffer.from(x.bytes()).toString('base64')]),
  )

const start = (dtype: DType = 'f32'): Record<string, Tensor> => ({
  'a.weight': randomStream(3, 'a')
    .normal([9, 7], dtype === 'f64' ? 'f64' : 'f32')
    .cast(dtype),
  'b.bias': tensor([0.5], [], dtype),
})

export function optimiserClaims(name: string, { quadratic, rosenbrock, full }: OptimiserUnderTest): void {
  const claim = (title: string, body: () => void) =>
    test(title, () => {
      const before = currentKernels().memory().tensors
      scope(body)
      expect(currentKernels().memory().tensors).toBe(before)
    })
  /** Parameters and an optimiser over them. */
  const using = (
    tensors: Record<string, Tensor>,
    make: OptimiserFor,
    body: (parameters: Parameters, optimiser: Optimiser) => void,
  ) =>
    withParameters(tensors, (parameters) => {
      const optimiser = make(parameters)
      try {
        body(parameters, optimiser)
      } finally {
        optimiser.dispose()
      }
    })

  describe(name, () => {
    for (const dtype of ['f32', 'f64', 'bf16'] as const)
      claim(`${dtype}: descends on a quadratic function`, () => {
        using({ x: tensor([1, -1, 2, 0.5], [4], dtype) }, quadratic(), (parameters, optimiser) => {
          const [x, curvature] = [parameters.get('x').tensor, tensor([1, 2, 3, 4], [4], dtype)]
          const loss = () => x.square().mul(curvature).sum().mul(0.5)
          const losses = Array.from({ length: 200 }, () => descend(parameters, optimiser, loss))
          expect(losses.at(-1)!).toBeLessThan(losses[0]! * 1e-3)
          expect(optimiser.steps).toBe(200)
        })
      })
    claim('finds its way along the valley of Rosenbrock', () => {
      using({ x: tensor([-1, 1], [2], 'f64') }, rosenbrock(), (parameters, optimiser) => {
        const loss = () => {
          const [x, y] = numbersOf(parameters, 'x') as [number, number]
          return { value: (1 - x) ** 2 + 100 * (y - x * x) ** 2, x, y, rise: 200 * (y - x * x) }
        }
        expect(loss().value).toBe(4)
        for (let t = 0; t < 2000; t++) {
          const { x, rise } = loss()
          const gradient = [2 * (x - 1) - 2 * x * rise, rise]
          scope(() => optimiser.step(new Map([['x', tensor(gradient, [2], 'f64')]])))
        }
        expect(loss().value).toBeLessThan(0.02)
      })
    })
    claim('saves and goes on to the same bits', () => {
      using(start(), full(), (parameters, optimiser) => {
        steps(parameters, optimiser, 0, 3)
        const [weights, saved] = [parameters.state(), optimiser.state()]
        steps(parameters, optimiser, 3, 6)
        using(start(), full(), (others, other) => {
          others.load(weights)
          other.load(saved)
          expect(other.steps).toBe(3)
          steps(others, other, 3, 6)
          expect(bits(others.state())).toEqual(bits(parameters.state()))
          expect(bits(other.state())).toEqual(bits(optimiser.state()))
        })
      })
    })
    claim('keeps number types, and those of its moments', () => {
      for (const dtype of ['f32', 'f64', 'bf16'] as const)
        using(start(dtype), full(), (parameters, optimiser) => {
          steps(parameters, optimiser, 0, 1)
          const wide = dtype === 'f64' ? 'f64' : 'f32'
          expect([...parameters.tensors().values()].map((x) => x.dtype)).toEqual([dtype, dtype])
          for (const state of [...parameters.states().values(), ...optimiser.states().values()])
            expect(state.dtype).toBe(wide)
        })
    })
    claim('its state is a record of tensors by path', () => {
      using(start(), full(), (parameters, optimiser) => {
        expect(Object.keys(optimiser.state())).toEqual(['steps'])
        steps(parameters, optimiser, 0, 2)
        const saved = optimiser.state()
        for (const [path, { shape }] of parameters.states()) {
          const own = Object.keys(saved).filter((key) => key.startsWith(`${path}/`))
          expect(own.length).toBeGreaterThan(1)
          for (const key of own) expect(saved[key]!.shape).toEqual(key.endsWith('/steps') ? [] : shape)
          expect(saved[`${path}/steps`]!.item()).toBe(2)
        }
        expect([...optimiser.states().keys()].every((key) => saved[key] !== undefined)).toBe(true)
      })
    })
    claim('a gradient of zero without decay leaves every bit of its parameter', () => {
      using(start(), full(), (parameters, optimiser) => {
        const before = bits(parameters.state())
        const none = new Map([...parameters.states()].map(([path, { shape }]) => [path, zeros(shape)]))
        for (let t = 0; t < 3; t++) optimiser.step(none)
        expect(bits(parameters.state())).toEqual(before)
      })
    })
    claim('a parameter without a gradient stays, with its count of steps', () => {
      using(start(), full(), (parameters, optimiser) => {
        const before = numbersOf(parameters, 'b.bias')
        optimiser.step(new Map([['a.weight', zeros([9, 7])]]))
        expect(numbersOf(parameters, 'b.bias')).toEqual(before)
        expect(Object.keys(optimiser.state()).some((key) => key.startsWith('b.bias'))).toBe(false)
      })
    })
    claim('a scale is a factor on all gradients', () => {
      using(start(), full(), (parameters, optimiser) => {
        using(start(), full(), (others, other) => {
          // By a power of two, so that no rounding differs.
          for (let t = 0; t < 3; t++) {
            const gradients = drawn(parameters, t)
            const halves = new Map([...gradients].map(([path, x]) => [path, x.mul(0.5)]))
            optimiser.step(gradients, { scale: 0.5 })
            other.step(halves)
          }
          expect(bits(others.state())).toEqual(bits(parameters.state()))
        })
      })
    })
    claim('1, 2 and 3 threads give the same bits', () => {
      const before = threads()
      const found = [1, 2, 3].map((count) => {
        setThreads(count)
        return withParameters({ x: randomStream(1, 'x').normal([100_003]) }, (parameters) => {
          const optimiser = full()(parameters)
          steps(parameters, optimiser, 0, 2)
          const result = { ...bits(parameters.state()), ...bits(optimiser.state()) }
          optimiser.dispose()
          return result
        })
      })
      setThreads(before)
      expect(found[1]).toEqual(found[0])
      expect(found[2]).toEqual(found[0])
    })
    claim('an unknown path and another shape or type are errors, and nothing has moved', () => {
      using(start(), full(), (parameters, optimiser) => {
        const before = bits(parameters.state())
        const good = ['a.weight', zeros([9, 7]).add(1)] as const
        const step = (path: string, gradient: Tensor) => () =>
          optimiser.step(new Map([good, [path, gradient]]))
        expect(step('b.bais', zeros([]))).toThrow(OptionError)
        expect(step('b.bais', zeros([]))).toThrow(/nearest are b\.bias/)
        expect(step('b.bias', zeros([1]))).toThrow(ShapeError)
        expect(step('b.bias', zeros([1]))).toThrow(/gradient of b\.bias needs f32 \[\] .*got f32 \[1\]/)
        expect(step('b.bias', zeros([], 'f64'))).toThrow(ShapeError)
        for (const scale of [Number.NaN, -1, Number.POSITIVE_INFINITY])
          expect(() => optimiser.step(new Map([good]), { scale })).toThrow(OptionError)
        expect(bits(parameters.state())).toEqual(before)
        expect([optimiser.steps, optimiser.states().size]).toEqual([0, 0])
      })
    })
    claim('a saved state that does not fit is refused before anything changes', () => {
      using(start(), full(), (parameters, optimiser) => {
        steps(parameters, optimiser, 0, 2)
        const saved = optimiser.state()
        const before = bits(saved)
        const moment = [...optimiser.states().keys()][0]!
        const wrong: [Record<string, Tensor | undefined>, RegExp][] = [
          [{ 'c.weight/steps': tensor([1], [], 'f64') }, /c\.weight\/steps .* belongs to no parameter/],
          [{ [moment]: zeros([7, 9]) }, /needs f32 \[9, 7\], got f32 \[7, 9\]/],
          [{ [moment]: zeros([9, 7], 'f64') }, /needs f32 \[9, 7\], got f64/],
          [{ [moment]: undefined }, /is missing/],
          [{ [`${moment}x`]: zeros([9, 7]) }, /is no moment of this optimiser/],
          [{ 'a.weight/steps': tensor([1.5], [], 'f64') }, /count of steps/],
          [{ steps: undefined }, /count of steps/],
        ]
        for (const [change, message] of wrong) {
          const entries = Object.entries({ ...saved, ...change }).filter(([, x]) => x !== undefined)
          const load = () => optimiser.load(Object.fromEntries(entries) as Record<string, Tensor>)
          expect(load).toThrow(StateError)
          expect(load).toThrow(message)
        }
        expect(bits(optimiser.state())).toEqual(before)
      })
    })
    claim('reset forgets the steps of what it names', () => {
      using(start(), full(), (parameters, optimiser) => {
        steps(parameters, optimiser, 0, 2)
        optimiser.reset('a')
        expect([...optimiser.states().keys()].every((key) => key.startsWith('b.bias/'))).toBe(true)
        optimiser.reset()
        expect(Object.keys(optimiser.state())).toEqual(['steps'])
        expect(optimiser.steps).toBe(2)
      })
    })
    claim('moments are edited by path: zeros under a mask, and all other bits stay', () => {
      using(start(), full(), (parameters, optimiser) => {
        steps(parameters, optimiser, 0, 2)
        const mask = randomStream(1, 'mask').bernoulli(0.5, [9, 7]).cast('f32')
        const before = bits(optimiser.state())
        const want = Object.fromEntries(
          [...optimiser.states()].map(([key, x]) => [
            key,
            key.startsWith('a.') ? x.tensor().mul(mask) : x.value(),
          ]),
        )
        optimiser.edit('a.weight', (moment) => moment.mul(mask))
        expect(bits(optimiser.state())).toEqual({ ...before, ...bits(want) })
      })
    })
    claim('a parameter takes another shape, and its moments with it', () => {
      using(start(), full(), (parameters, optimiser) => {
        steps(parameters, optimiser, 0, 2)
        const own = [...optimiser.states()].filter(([key]) => key.startsWith('a.'))
        const kept = new Map(own.map(([key, x]) => [key, x.tensor().slice(0, 2, 5).contiguous()]))
        parameters.replace('a.weight', parameters.get('a.weight').tensor.slice(0, 2, 5).contiguous())
        const before = numbersOf(parameters, 'b.bias')
        expect(() => steps(parameters, optimiser, 2, 3)).toThrow(
          /parameter now \[3, 7\]; edit the moments, or reset/,
        )
        expect(numbersOf(parameters, 'b.bias')).toEqual(before)
        expect(() => optimiser.edit('a', (moment) => moment)).toThrow(/needs f32 \[3, 7\], got f32 \[9, 7\]/)
        optimiser.edit('a', (moment) => moment.slice(0, 2, 5))
        for (const [key, x] of kept)
          expect([...optimiser.states().get(key)!.tensor().toArray()]).toEqual([...x.toArray()])
        steps(parameters, optimiser, 2, 3)
        expect(optimiser.state()['a.weight/steps']!.item()).toBe(3)
      })
    })
    claim('schedules are asked with the steps done, also after loading', () => {
      using(start(), full(), (parameters, optimiser) => {
        steps(parameters, optimiser, 0, 4)
        using(start(), full(), (_, other) => {
          other.load(optimiser.state())
          expect(other.rate('a.weight')).toBe(optimiser.rate('a.weight'))
        })
      })
    })
  })
}
