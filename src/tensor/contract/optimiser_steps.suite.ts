import { expect } from 'vitest'
import { ShapeError } from '../errors.ts'
import {
  type AdamStep,
  adamStep,
  type DType,
  type SgdStep,
  State,
  sgdStep,
  sumOfSquares,
  type Tensor,
  tensor,
  zeros,
} from '../index.ts'
import { type Claim, computing, exact, exactTensor, expectNear, reals, valuesOf } from './claims.suite.ts'

const plain: SgdStep = { rate: 0.5, scale: 1, decay: 0, momentum: 0, fresh: 1, nesterov: false }
const adam: AdamStep = {
  rate: 0.5,
  scale: 1,
  decay: 0,
  keep: 1,
  beta1: 0.5,
  beta2: 0.75,
  correction: 0.5,
  epsilon: 1,
}

/** A state with these numbers. */
export function stateOf(x: Tensor, name = 'w'): State {
  const state = new State(name, x.shape, x.dtype)
  state.assign(x)
  return state
}

/** Runs `body` with states that are disposed of after it. */
export function withStates<T>(tensors: readonly Tensor[], body: (...states: State[]) => T): T {
  const states = tensors.map((x, i) => stateOf(x, `state ${i}`))
  try {
    return body(...states)
  } finally {
    for (const state of states) state.dispose()
  }
}

export function optimiserStepClaims(claim: Claim): void {
  for (const dtype of reals) {
    const of = (...values: number[]) => tensor(values, [values.length], dtype)
    const numbers = (state: State) => valuesOf(state.tensor())
    claim(`${dtype}: SGD moves against the scaled gradient and the decay`, () => {
      withStates([of(1, -2, 4)], (p) => {
        sgdStep(p!, undefined, of(4, 8, 0), { ...plain, scale: 0.5, decay: 0.25 })
        // d = g / 2 + p / 4 = 2.25, 3.5, 1
        expect(numbers(p!)).toEqual([-0.125, -3.75, 3.5])
      })
    })
    claim(`${dtype}: momentum gathers gradients, Nesterov looks ahead`, () => {
      withStates([of(1), of(0), of(1), of(0)], (p, m, q, n) => {
        for (const [at, ahead] of [
          [0.5, 0.25],
          [-0.25, -0.625],
        ]) {
          sgdStep(p!, m!, of(1), { ...plain, momentum: 0.5 })
          sgdStep(q!, n!, of(1), { ...plain, momentum: 0.5, nesterov: true })
          expect([numbers(p!), numbers(q!)]).toEqual([[at], [ahead]])
        }
        expect(numbers(m!)).toEqual([1.5])
      })
    })
    claim(`${dtype}: dampening lets in a part of the gradient`, () => {
      withStates([of(0), of(2)], (p, m) => {
        sgdStep(p!, m!, of(4), { ...plain, momentum: 0.5, fresh: 0.25 })
        expect([numbers(p!), numbers(m!)]).toEqual([[-1], [2]])
      })
    })
    claim(`${dtype}: Adam divides the mean gradient by the root of the mean square`, () => {
      withStates([of(3, 1), of(0, 0), of(0, 0)], (p, m, v) => {
        // g = 2: m = 1, v = 1, sqrt(v) / 0.5 + 1 = 3, so that p moves by 0.5 / 3; g = 0 moves nothing.
        adamStep(p!, m!, v!, of(4, 0), { ...adam, scale: 0.5 })
        expect([numbers(m!), numbers(v!)]).toEqual([
          [1, 0],
          [1, 0],
        ])
        expectNear(p!.tensor(), [3 - 0.5 / 3, 1])
        // Decay joins the gradient: g = 0 + 2 * 1; kept: p shrinks by a half first.
        p!.assign(of(1, 1))
        m!.assign(of(0, 0))
        v!.assign(of(0, 0))
        adamStep(p!, m!, v!, of(0, 2), { ...adam, decay: 2 })
        expect(numbers(m!)).toEqual([1, 2])
        p!.assign(of(1, 1))
        v!.assign(of(0, 0))
        m!.assign(of(0, 0))
        adamStep(p!, m!, v!, of(0, 0), { ...adam, keep: 0.5 })
        expect(numbers(p!)).toEqual([0.5, 0.5])
      })
    })
    claim(`${dtype}: many numbers follow the formulas, also from a view`, () => {
      const shape = [37, 1801]
      const gradient = exactTensor(shape.toReversed(), dtype, 2).transpose()
      const start = exactTensor(shape, dtype)
      const steps: AdamStep = { ...adam, beta1: 0.9, decay: 0.01, keep: 0.99, epsilon: 1e-8, correction: 0.3 }
      withStates([start, zeros(shape, dtype), zeros(shape, dtype)], (p, m, v) => {
        for (let t = 0; t < 2; t++) adamStep(p!, m!, v!, gradient, steps)
        const g = valuesOf(gradient)
        const want = valuesOf(start).map((value, i) => {
          let [m, v, p] = [0, 0, value]
          for (let t = 0; t < 2; t++) {
            p *= steps.keep
            const d = g[i]! + steps.decay * p
            m = 0.9 * m + 0.1 * d
            v = 0.75 * v + 0.25 * d * d
            p -= (0.5 * m) / (Math.sqrt(v) / 0.3 + 1e-8)
          }
          return p
        })
        expectNear(p!.tensor(), want, { units: 32, scale: 1 })
      })
    })
    claim(`${dtype}: a gradient of zero without decay changes no bit`, () => {
      const start = exactTensor([40_001], dtype).mul(1 / 3)
      withStates([start, zeros([40_001], dtype), zeros([40_001], dtype)], (p, m, v) => {
        const before = p!.bytes()
        sgdStep(p!, undefined, zeros([40_001], dtype), plain)
        sgdStep(p!, m!, zeros([40_001], dtype), { ...plain, momentum: 0.9, nesterov: true })
        adamStep(p!, m!, v!, zeros([40_001], dtype), adam)
        expect(Buffer.compare(before, p!.bytes())).toBe(0)
      })
    })
    claim(`${dtype}: a gradient that views the parameter is read before it changes`, () => {
      withStates([of(2, -4)], (p) => {
        sgdStep(p!, undefined, p!.tensor(), plain)
        expect(numbers(p!)).toEqual([1, -2])
        expect(() => sgdStep(p!, p, of(1, 1), plain)).toThrow()
      })
    })
  }
  claim('bf16 gradients change f32 parameters as their f32 values do', () => {
    const gradient = exactTensor([50_000], 'bf16', 3)
    const start = exactTensor([50_000])
    withStates([start, start], (a, b) => {
      sgdStep(a!, undefined, gradient, plain)
      sgdStep(b!, undefined, gradient.cast('f32'), plain)
      expect(Buffer.compare(a!.bytes(), b!.bytes())).toBe(0)
    })
  })
  claim('what does not fit is refused with the name of the state, and nothing changes', () => {
    const other = (dtype: DType, shape: number[]) => new State('moment', shape, dtype)
    const moments = [other('f64', [2]), other('f32', [3])]
    withStates([tensor([1, 2])], (p) => {
      for (const moment of moments)
        expect(() => sgdStep(p!, moment, tensor([1, 1]), plain)).toThrow(/moment needs f32 \[2\]/)
      expect(() => adamStep(p!, moments[0]!, p!, tensor([1, 1]), adam)).toThrow(ShapeError)
      for (const gradient of [tensor([1]), tensor([1, 1], [2], 'f64'), tensor([1, 1], [2], 'i32')])
        expect(() => sgdStep(p!, undefined, gradient, plain)).toThrow(/gradient of state 0 needs f32 \[2\]/)
      expect(valuesOf(p!.tensor())).toEqual([1, 2])
      const narrow = other('bf16', [2])
      expect(() => sgdStep(narrow, undefined, tensor([1, 1]), plain)).toThrow(/moment needs f32 or f64/)
      narrow.dispose()
    })
    for (const moment of moments) moment.dispose()
  })
  claim('a step counts as a change of every state that it touches', () => {
    withStates([zeros([2]), zeros([2]), zeros([2])], (...states) => {
      const versions = () => states.map((state) => state.tensor().memory.version)
      const before = versions()
      adamStep(states[0]!, states[1]!, states[2]!, zeros([2]), adam)
      expect(versions()).toEqual(before.map((version) => version + 1))
    })
  })
  for (const dtype of computing) {
    claim(`${dtype}: lerp moves by its share and ends exactly`, () => {
      const [from, to] = [exactTensor([33, 5], dtype), exactTensor([5, 33], dtype, 2).transpose()]
      withStates([from], (state) => {
        const [a, b] = [valuesOf(from), valuesOf(to)]
        state!.lerp(to, 0.25)
        expectNear(
          state!.tensor(),
          a.map((x, i) => x + 0.25 * (b[i]! - x)),
          { units: 2, scale: 2 },
        )
        state!.lerp(to, 1)
        expect(valuesOf(state!.tensor())).toEqual(b)
        state!.lerp(from, 0)
        expect(valuesOf(state!.tensor())).toEqual(b)
        expect(() => state!.lerp(to, 1.5)).toThrow(/in \[0, 1\]/)
        expect(() => state!.lerp(zeros([2], dtype), 0.5)).toThrow(ShapeError)
      })
    })
    claim(`${dtype}: squares are summed as in f64`, () => {
      const x = exactTensor([3, 70_001], dtype)
      const want = exact(3 * 70_001).reduce((sum, value) => sum + value * value, 0)
      // Multiples of 2^-12 below 2^53: every order of sums is exact.
      expect(sumOfSquares(x)).toBe(want)
      expect(sumOfSquares(x.transpose())).toBe(want)
      expect(sumOfSquares(zeros([0], dtype))).toBe(0)
      // The square is no number of f32.
      expect(sumOfSquares(tensor([2 ** 100, 2 ** 100], [2], dtype))).toBe(2 ** 201)
      expect(sumOfSquares(tensor([1, NaN], [2], dtype))).toBeNaN()
      expect(sumOfSquares(tensor([1, -Infinity], [2], dtype))).toBe(Infinity)
    })
  }
  claim('assign rounds to the type of the state', () => {
    const wide = tensor([1 + 2 ** -9, -3.5, 300], [3], 'f64')
    for (const [dtype, want] of [
      ['bf16', [1, -3.5, 300]],
      ['f64', [1 + 2 ** -9, -3.5, 300]],
      ['i8', [1, -3, 127]],
    ] as const) {
      const state = new State('w', [3], dtype)
      state.assign(wide)
      expect(valuesOf(state.tensor())).toEqual([...want])
      state.assign(state.tensor())
      expect(valuesOf(state.tensor())).toEqual([...want])
      expect(() => state.assign(zeros([4]))).toThrow(/state w of shape \[3\] cannot take \[4\]/)
      state.dispose()
    }
  })
}
