import { expect, test } from 'vitest'
import { ShapeError } from '../tensor/errors.ts'
import { layerNorm, randomStream, type Tensor, tensor } from '../tensor/index.ts'
import { ChannelMoments, correctedNorm, outputCorrection } from './output_correction.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const momentsOf = (...batches: Tensor[]) => {
  const moments = new ChannelMoments(batches[0]!.extent(-1))
  for (const batch of batches) moments.add(batch)
  return moments.value()
}

test('means and deviations by channel are those worked by hand, over any number of batches', () => {
  const y = tensor([1, 10, 3, 10, 5, 10, 7, 10], [4, 2])
  for (const batches of [[y], [y.slice(0, 0, 1), y.slice(0, 1, 4)], [y.reshape([2, 2, 2])]]) {
    const { mean, deviation } = momentsOf(...batches)
    expect([...mean]).toEqual([4, 10])
    expect([...deviation]).toEqual([Math.sqrt(5), 0])
  }
})
test('a large mean costs no digits', () => {
  const y = tensor(Float64Array.of(1e8, 1e8 + 1, 1e8 + 2), [3, 1], 'f64')
  const { mean, deviation } = momentsOf(y)
  expect(mean[0]).toBe(1e8 + 1)
  expect(deviation[0]).toBeCloseTo(Math.sqrt(2 / 3), 12)
})
test('a corrected norm gives outputs with the means and deviations of the dense network', () => {
  const stream = randomStream(0, 'norms')
  const x = stream.normal([400, 6], 'f64')
  const norm = { weight: stream.normal([6], 'f64'), bias: stream.normal([6], 'f64') }
  const forward = (input: Tensor, { weight, bias }: typeof norm) => layerNorm(input, weight, bias, 1e-5)
  const dense = momentsOf(forward(x, norm))
  // What a compressed network sends into the norm: scaled, moved and mixed.
  const other = x.mul(tensor([0.5, 2, 1, 1, 3, 1], [6], 'f64')).add(tensor([1, 0, 0, -1, 0, 2], [6], 'f64'))
  const compressed = momentsOf(forward(other, norm))
  const corrected = forward(other, correctedNorm(norm, outputCorrection(dense, compressed)))
  const found = momentsOf(corrected)
  for (let c = 0; c < 6; c++) {
    expect(compressed.mean[c]).not.toBeCloseTo(dense.mean[c]!, 3)
    expect(found.mean[c]).toBeCloseTo(dense.mean[c]!, 9)
    // The 1e-9 beside the deviation keeps it from being exact.
    expect(found.deviation[c]).toBeCloseTo(dense.deviation[c]!, 7)
  }
})
test('the same statistics correct nothing but for the 1e-9, and a channel that died gets its mean back', () => {
  const { scale, shift } = outputCorrection(
    { mean: Float64Array.of(2, 5), deviation: Float64Array.of(1, 3) },
    { mean: Float64Array.of(2, 0), deviation: Float64Array.of(1, 0) },
  )
  expect(scale[0]).toBeCloseTo(1, 8)
  expect(shift[0]).toBeCloseTo(0, 8)
  expect(0 * scale[1]! + shift[1]!).toBe(5)
  const { bias } = correctedNorm({ weight: tensor([1, 1], [2]), bias: tensor([0, 0], [2]) }, { scale, shift })
  expect(numbers(bias)[1]).toBe(5)
})
test('other channels, and no rows at all, are refused', () => {
  const moments = new ChannelMoments(3)
  expect(() => moments.add(tensor([1, 2], [1, 2]))).toThrow(ShapeError)
  expect(() => moments.value()).toThrow(/no rows/)
})
