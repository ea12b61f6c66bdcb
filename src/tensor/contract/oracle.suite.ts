import { expect } from 'vitest'
import * as pare from '../index.ts'
import {
  type DType,
  type RandomStream,
  randomStream,
  referenceKernels,
  type Tensor,
  withKernels,
} from '../index.ts'
import { type Claim, computing, exactTensor, expectNear, valuesOf } from './claims.suite.ts'

/** The same call on the reference, which computes in f64 and rounds once. */
const reference = (run: () => Tensor) => valuesOf(withKernels(referenceKernels(), run))

type Call = [run: (dtype: DType) => Tensor, units: number, scale: number]

/** Larger and odder sizes than the hand-written claims; tolerances in roundings of values of size `scale`. */
const calls: Record<string, Call> = {
  'matmul with everything': [
    (d) => {
      const [x, w] = [exactTensor([3, 77, 129], d), exactTensor([65, 129], d, 2)]
      const residual = exactTensor([3, 77, 65], d, 4)
      return pare.linear(x, w, exactTensor([65], d, 3), { activation: 'silu', residual })
    },
    16,
    32,
  ],
  'sum over a view': [
    (d) => exactTensor([33, 17, 29], d).transpose(0, 1).slice(2, 1, 28, 3).sum([0, 2]),
    64,
    8,
  ],
  'softmax of a view': [(d) => exactTensor([65, 47], d).mul(4).transpose().softmax(), 32, 0.01],
  'erf over its range': [(d) => pare.erf(exactTensor([4001], d).mul(2)), 12, 0.01],
  'tanh over its range': [(d) => exactTensor([4001], d).mul(4).tanh(), 4, 0.01],
  'sin of large angles': [(d) => pare.sin(exactTensor([4001], d).mul(512)), 4, 0.25],
  'cos of large angles': [(d) => pare.cos(exactTensor([4001], d).mul(512)), 4, 0.25],
  'exp over its range': [(d) => exactTensor([4001], d).mul(32).exp(), 8, 0],
  'log over its range': [(d) => exactTensor([4001], d).mul(32).exp().log(), 8, 1],
  'attention with a long history': [
    (d) => {
      const [q, k] = [exactTensor([1, 8, 3, 80], d), exactTensor([1, 2, 517, 80], d, 2)]
      return pare.attention(q, k, exactTensor([1, 2, 517, 80], d, 3), { causal: true })
    },
    80,
    2,
  ],
}

/** What the reference draws from the stream that the claims draw from. */
const sample = (draw: (stream: RandomStream) => Tensor) =>
  withKernels(referenceKernels(), () => draw(randomStream(5, 'oracle')))

/** Native kernels against the reference loops. */
export function oracleClaims(claim: Claim): void {
  for (const dtype of computing) {
    for (const [name, [run, units, scale]] of Object.entries(calls)) {
      claim(`${dtype}: ${name}: as the reference`, () => {
        expectNear(
          run(dtype),
          reference(() => run(dtype)),
          { units, scale },
        )
      })
    }
  }
  claim('words and uniform numbers have the bits of the reference', () => {
    for (const count of [1, 2, 3, 5, 70_001]) {
      for (const draw of [
        (s: RandomStream) => s.bits([count]),
        (s: RandomStream) => s.uniform([count]),
        (s: RandomStream) => s.uniform([count], 'f64'),
      ]) {
        const found = draw(randomStream(5, 'oracle'))
        const want = sample(draw)
        expect(Buffer.compare(found.bytes(), want.bytes())).toBe(0)
      }
    }
  })
  claim('normal numbers agree with the reference within 2 units in the last place of f64', () => {
    for (const count of [1, 2, 7, 5001]) {
      const [found, want] = [
        randomStream(5, 'oracle').normal([count], 'f64'),
        sample((s: RandomStream) => s.normal([count], 'f64')),
      ]
      const wanted = valuesOf(want)
      valuesOf(found).forEach((x, i) => {
        expect(Math.abs(x - wanted[i]!)).toBeLessThanOrEqual(2 * 2 ** -52 * Math.abs(wanted[i]!))
      })
      const single = valuesOf(randomStream(5, 'oracle').normal([count]))
      single.forEach((x, i) => {
        expect(Math.abs(x - wanted[i]!)).toBeLessThanOrEqual(2 ** -23 * Math.abs(wanted[i]!))
      })
    }
  })
}
