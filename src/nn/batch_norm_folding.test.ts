import { expect, test } from 'vitest'
import { exactTensor, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { OptionError } from '../tensor/errors.ts'
import { dispose, State, scope, type Tensor, tensor } from '../tensor/index.ts'
import { BatchNorm } from './batch_norm.ts'
import { estimateStatistics } from './batch_norm_estimation.ts'
import { foldConvolution, foldNorm, identityNorm } from './batch_norm_folding.ts'
import { Convolution } from './convolution.ts'
import { denseSource } from './weight_source.ts'

const state = (name: string, x: Tensor) => {
  const made = new State(name, x.shape, x.dtype)
  made.assign(x)
  return made
}
const largest = (a: Tensor, b: Tensor) => {
  const [found, want] = [valuesOf(a), valuesOf(b)]
  return Math.max(...want.map((value, i) => Math.abs(value - found[i]!)))
}

test('by hand: variance 3 with epsilon 1, weight 4 and bias 1 double a weight of 1, and move what is behind the mean', () => {
  onNative(() => {
    const of = (value: number) => tensor([value], [1], 'f64')
    const norm = { weight: of(4), bias: of(1), mean: of(5), variance: of(3) }
    const folded = foldNorm(tensor([1], [1, 1], 'f64'), of(2), norm, 1)
    expect([...valuesOf(folded.weight), ...valuesOf(folded.bias)]).toEqual([2, 2 * (2 - 5) + 1])
    const bare = foldNorm(tensor([1], [1, 1], 'f64'), undefined, { mean: of(5), variance: of(3) }, 1)
    expect([...valuesOf(bare.weight), ...valuesOf(bare.bias)]).toEqual([0.5, -2.5])
  })
})

test.each([
  [1, true],
  [4, false],
])(
  'a convolution of %i groups (bias: %s) with its norm folded in gives what both give',
  (groups, hasBias) => {
    onNative(() => {
      const x = exactTensor([2, 6, 5, 4], 'f64')
      const weight = exactTensor([8, 3, 3, 4 / groups], 'f64', 2)
      const [scale, shift, mean] = [3, 4, 5].map((seed) => exactTensor([8], 'f64', seed)) as Tensor[]
      const norm = new BatchNorm(
        {
          weight: scale,
          bias: shift,
          runningMean: state('mean', mean!),
          runningVariance: state('variance', exactTensor([8], 'f64', 6).abs().add(0.25)),
        },
        { epsilon: 1e-3 },
      )
      const geometry = { kernel: [3, 3], padding: 1, stride: 2, groups } as const
      const bias = hasBias ? exactTensor([8], 'f64', 7) : undefined
      const convolution = new Convolution('conv.weight', denseSource(weight), geometry, bias)
      const want = norm.forward(convolution.forward(x), 'running')
      const folded = foldConvolution(convolution, norm)
      expect(folded.source.shape).toEqual(convolution.source.shape)
      // 36 products of numbers of at most 2 by 2, times at most 2 / sqrt(0.25).
      expect(largest(folded.forward(x), want)).toBeLessThan(64 * 4 * 4 * 2 ** -52 * 36)
    })
  },
)

test('an inserted norm changes no bit, and one with statistics none but the last ones', () => {
  onNative(() => {
    for (const epsilon of [1e-5, 1e-3, 2 ** -10]) {
      const x = exactTensor([30, 7]).div(3)
      const plain = identityNorm('plain', 7, { epsilon })
      expect(valuesOf(plain.forward(x, 'running'))).toEqual(valuesOf(x))
      const statistics = { mean: x.mean(0), variance: x.sub(x.mean(0)).square().mean(0) }
      const norm = identityNorm('fitted', 7, { epsilon, statistics })
      // A scale off by 2 roundings on numbers of at most 1, and a shift of as many.
      expect(largest(norm.forward(x, 'running'), x)).toBeLessThan(8 * 2 ** -23)
      // The batch that the statistics are of also leaves it an identity.
      expect(largest(norm.forward(x, 'batch'), x)).toBeLessThan(64 * 2 ** -23)
    }
  })
})

test('statistics are taken anew over all batches, without traces in the momentum, and never of none', () => {
  onNative(() => {
    const norm = identityNorm('norm', 1, { momentum: 0.5 })
    const batches = [tensor([0, 4], [2, 1]), tensor([2, 6], [2, 1])]
    norm.forward(tensor([100, 300], [2, 1]), 'batch')
    estimateStatistics([norm], () => {
      for (const x of batches) norm.forward(x, 'batch')
    })
    const { runningMean, runningVariance } = norm.weights
    // Means 2 and 4; squares 8 about both, over n - 1.
    expect([...valuesOf(runningMean.value()), ...valuesOf(runningVariance.value())]).toEqual([3, 8])
    expect(norm.momentum).toBe(0.5)
    expect(() => estimateStatistics([norm], () => {})).toThrow(OptionError)
    expect(norm.momentum).toBe(0.5)
  })
})
test.each([Number.NaN, Number.NEGATIVE_INFINITY])('statistics of %f are mended by an estimate', (broken) => {
  onNative(() => {
    const norm = identityNorm('norm', 1)
    const { runningMean, runningVariance } = norm.weights
    for (const part of [runningMean, runningVariance]) part.assign(tensor([broken], [1]))
    estimateStatistics([norm], () => norm.forward(tensor([0, 4], [2, 1]), 'batch'))
    expect([...valuesOf(runningMean.value()), ...valuesOf(runningVariance.value())]).toEqual([2, 8])
  })
})
test('a norm leaves its scope with its weights, shares none with the statistics, and is freed whole', () => {
  onNative(() => {
    const statistics = { mean: tensor([1, 2]), variance: tensor([4, 9]) }
    const norm = scope(() => identityNorm('norm', 2, { epsilon: 0, statistics }))
    const { weight, bias } = norm.weights
    dispose(statistics)
    const x = tensor([5, 6], [1, 2])
    expect(valuesOf(norm.forward(x, 'running'))).toEqual([5, 6])
    dispose(norm)
    expect([weight!.alive, bias!.alive]).toEqual([false, false])
    expect(() => norm.forward(x, 'running')).toThrow(/no longer alive/)
  })
})
