import { describe, expect, test } from 'vitest'
import { exactTensor, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { checkpoint, State, type Tensor, tensor, valueAndGrad } from '../tensor/index.ts'
import { BatchNorm, type BatchNormOptions } from './batch_norm.ts'

function made(channels: number, options: BatchNormOptions = {}) {
  const [runningMean, runningVariance] = ['mean', 'variance'].map(
    (name) => new State(name, [channels], 'f64'),
  )
  const layer = new BatchNorm({ runningMean: runningMean!, runningVariance: runningVariance! }, options)
  layer.resetStatistics()
  const statistics = () => [runningMean!, runningVariance!].map((state) => valuesOf(state.value()))
  return { layer, statistics }
}
/** One channel, 0 and 4: mean 2, variance 4 over n, 8 over n - 1. */
const pair = () => tensor([0, 4], [2, 1], 'f64')

test('statistics of the batch make mean 0 and variance 1, and running ones follow by the momentum', () => {
  onNative(() => {
    const { layer, statistics } = made(1, { epsilon: 0, momentum: 0.25 })
    expect(valuesOf(layer.forward(pair(), 'batch'))).toEqual([-1, 1])
    expect(statistics()).toEqual([[0.5], [1 + 0.25 * 7]])
    // With the running ones.
    const [mean, variance] = [0.5, 2.75]
    const wanted = [0, 4].map((x) => (x - mean) / Math.sqrt(variance))
    for (const [i, y] of valuesOf(layer.forward(pair(), 'running')).entries())
      expect(y).toBeCloseTo(wanted[i]!, 14)
    expect(statistics()).toEqual([[0.5], [2.75]])
  })
})
test('weight and bias scale and shift', () => {
  onNative(() => {
    const { layer } = made(1, { epsilon: 0 })
    const { runningMean, runningVariance } = layer.weights
    const [weight, bias] = [tensor([3], [1], 'f64'), tensor([10], [1], 'f64')]
    const scaled = new BatchNorm({ weight, bias, runningMean, runningVariance }, { epsilon: 0 })
    expect(valuesOf(scaled.forward(pair(), 'batch'))).toEqual([7, 13])
  })
})
describe('running statistics', () => {
  test('are the mean over all batches where that is asked for, and begin anew after a reset', () => {
    onNative(() => {
      const { layer, statistics } = made(1, { momentum: 'cumulative' })
      layer.forward(pair(), 'batch')
      layer.forward(pair().add(2), 'batch')
      expect(statistics()).toEqual([[3], [8]])
      layer.resetStatistics()
      expect(statistics()).toEqual([[0], [1]])
      layer.forward(pair(), 'batch')
      expect(statistics()).toEqual([[2], [8]])
    })
  })
  test.each([Number.NaN, Number.POSITIVE_INFINITY])('of %f are gone after a reset', (broken) => {
    onNative(() => {
      const { layer, statistics } = made(1, { momentum: 0.25 })
      const { runningMean, runningVariance } = layer.weights
      for (const state of [runningMean, runningVariance]) state.assign(tensor([broken], [1], 'f64'))
      layer.resetStatistics()
      expect(statistics()).toEqual([[0], [1]])
      layer.forward(pair(), 'batch')
      expect(statistics()).toEqual([[0.5], [1 + 0.25 * 7]])
    })
  })
  test('stay where the momentum is 0, and follow once where a checkpoint runs the forward twice', () => {
    onNative(() => {
      const still = made(1, { momentum: 0 })
      still.layer.forward(pair(), 'batch')
      expect(still.statistics()).toEqual([[0], [1]])
      const plain = made(1)
      const kept = made(1)
      const gradient = (f: (x: Tensor) => Tensor) =>
        valuesOf(valueAndGrad(([x]) => f(x).square().mul(x).sum(), [pair()]).gradients[0])
      const a = gradient((x) => plain.layer.forward(x, 'batch'))
      const b = gradient((x) => checkpoint((y) => kept.layer.forward(y, 'batch'), x))
      expect(b).toEqual(a)
      expect(kept.statistics()).toEqual(plain.statistics())
    })
  })
})
test('channels are the last axis, whatever stands before it', () => {
  onNative(() => {
    const x = exactTensor([2, 3, 5, 4], 'f64')
    const { layer } = made(4)
    const y = layer.forward(x, 'batch')
    const flat = made(4).layer.forward(x.reshape([30, 4]), 'batch')
    expect(valuesOf(y)).toEqual(valuesOf(flat))
    for (const mean of valuesOf(y.mean([0, 1, 2]))) expect(Math.abs(mean)).toBeLessThan(1e-14)
  })
})
