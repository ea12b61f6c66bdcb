import { expect } from 'vitest'
import * as pare from '../index.ts'
import { batchNorm, batchNormWith, full, groupNorm, type NormEnding, vjp, zeros } from '../index.ts'
import { type Claim, computing, exactTensor, expectNear, expectShape, valuesOf } from './claims.suite.ts'

const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

/** Mean and variance of the values that share a key. */
function statistics(values: readonly number[], keyOf: (i: number) => number) {
  const groups = new Map<number, number[]>()
  for (const [i, value] of values.entries()) groups.set(keyOf(i), [...(groups.get(keyOf(i)) ?? []), value])
  return new Map(
    Array.from(groups, ([key, members]) => {
      const mean = total(members) / members.length
      return [key, { mean, variance: total(members.map((v) => (v - mean) ** 2)) / members.length }]
    }),
  )
}

export function channelNormClaims(claim: Claim): void {
  const epsilon = 2 ** -10
  for (const dtype of computing) {
    claim(`${dtype}: batch norm has the mean and variance of every channel`, () => {
      const [shape, channels] = [[4, 5, 3, 19], 19]
      const [x, weight, bias] = [
        exactTensor(shape, dtype),
        exactTensor([channels], dtype, 5),
        exactTensor([channels], dtype, 6),
      ]
      const [values, w, b] = [x, weight, bias].map(valuesOf) as [number[], number[], number[]]
      const found = statistics(values, (i) => i % channels)
      const normalized = values.map((v, i) => {
        const { mean, variance } = found.get(i % channels)!
        return (v - mean) / Math.sqrt(variance + epsilon)
      })
      const { output, mean, variance } = batchNorm(x, weight, bias, epsilon)
      const want = Array.from(found.values())
      const tolerance = { units: 64, scale: 2 } // sums of 60 numbers of at most 2
      expectNear(
        mean,
        want.map((s) => s.mean),
        tolerance,
      )
      expectNear(
        variance,
        want.map((s) => s.variance),
        tolerance,
      )
      expect(mean.dtype).toBe(dtype === 'bf16' ? 'f32' : dtype)
      const scaled = normalized.map((v, i) => v * w[i % channels]! + b[i % channels]!)
      expectNear(output, scaled, { units: dtype === 'bf16' ? 1 : 128, scale: 4 })
      expectNear(batchNorm(x, undefined, undefined, epsilon).output, normalized, {
        units: dtype === 'bf16' ? 1 : 128,
        scale: 4,
      })
      const frozen = batchNormWith(
        x,
        weight,
        bias,
        { mean: mean.cast(dtype), variance: variance.cast(dtype) },
        epsilon,
      )
      expectNear(frozen, scaled, { units: dtype === 'bf16' ? 8 : 128, scale: 4 })
    })
    claim(`${dtype}: group norm has those of every group of an image`, () => {
      const x = exactTensor([3, 4, 2, 6], dtype)
      const values = valuesOf(x)
      const found = statistics(values, (i) => Math.floor(i / 48) * 3 + Math.floor((i % 6) / 2))
      const want = values.map((v, i) => {
        const { mean, variance } = found.get(Math.floor(i / 48) * 3 + Math.floor((i % 6) / 2))!
        return (v - mean) / Math.sqrt(variance + epsilon)
      })
      expectNear(groupNorm(x, 3, undefined, undefined, epsilon), want, { units: 64, scale: 4 })
    })
    claim(`${dtype}: a residual and relu in the same pass give what they give one after the other`, () => {
      const [x, residual] = [exactTensor([4, 9, 19], dtype), exactTensor([4, 9, 19], dtype, 3)]
      const [weight, bias] = [exactTensor([19], dtype, 5), exactTensor([19], dtype, 6)]
      const plain = batchNorm(x, weight, bias, epsilon).output
      // Some kernels round after every step, and some once.
      const tolerance = { units: 1, scale: 8 }
      const fused = (ending: NormEnding) => batchNorm(x, weight, bias, epsilon, ending).output
      expectNear(fused({ activation: 'relu' }), valuesOf(plain.relu()), tolerance)
      expectNear(fused({ residual }), valuesOf(plain.add(residual)), tolerance)
      const both = fused({
        residual: residual.permute([1, 0, 2]).contiguous().permute([1, 0, 2]),
        activation: 'relu',
      })
      expectNear(both, valuesOf(plain.add(residual).relu()), tolerance)
      const frozen = { mean: zeros([19], dtype), variance: full([19], 1, dtype) }
      expectNear(
        batchNormWith(x, weight, bias, frozen, epsilon, { residual, activation: 'relu' }),
        valuesOf(batchNormWith(x, weight, bias, frozen, epsilon).add(residual).relu()),
        { units: 0 },
      )
    })
    claim(`${dtype}: strided views are normalized as their copies`, () => {
      const x = exactTensor([5, 7, 6], dtype).permute([2, 0, 1])
      const copy = batchNorm(x.contiguous(), undefined, undefined, epsilon).output
      expectNear(batchNorm(x, undefined, undefined, epsilon).output, valuesOf(copy), { units: 0 })
    })
  }
  claim('one group is the layer norm of a whole image', () => {
    const x = exactTensor([3, 1, 1, 20], 'f64')
    const layer = pare.layerNorm(x, undefined, undefined, epsilon)
    expectNear(groupNorm(x, 1, undefined, undefined, epsilon), valuesOf(layer), { units: 32, scale: 4 })
  })
  claim('numbers far from zero keep their variance', () => {
    const x = exactTensor([500, 3]).mul(0.5).add(8192)
    const { variance } = batchNorm(x, undefined, undefined, 0)
    const values = valuesOf(x)
    const want = Array.from(statistics(values, (i) => i % 3).values()).map((s) => s.variance)
    expectNear(variance, want, { units: 2 ** 10 })
  })
  claim('the mean and variance that batch norm returns have no gradient, and say so', () => {
    const x = exactTensor([6, 2])
    const { value, pull } = vjp(() => batchNorm(x, undefined, undefined, 1e-5).mean, [x])
    expect(() => pull([[value, full(value.shape, 1)]])).toThrow(/have no gradient; take x.mean/)
  })
  claim('a constant channel becomes the bias, and an empty batch is refused', () => {
    const { output } = batchNorm(full([4, 2, 2, 3], 7), undefined, full([3], 2), 1e-5)
    expectNear(output, new Float64Array(48).fill(2))
    expect(() => batchNorm(zeros([0, 2, 2, 3]), undefined, undefined, 1e-5)).toThrow(/at least one value/)
    expectShape(groupNorm(zeros([0, 4, 6]), 2, undefined, undefined, 1e-5), [0, 4, 6])
  })
  claim('relu in the same pass passes NaN on, there and back', () => {
    const x = pare.tensor([1, -1, Number.NaN, 0], [2, 2])
    const ending = { activation: 'relu' } as const
    const { value, pull } = vjp(() => batchNorm(x, undefined, undefined, 1e-5, ending).output, [x])
    expect(valuesOf(value).map(Number.isNaN)).toEqual([true, false, true, false])
    const [gradient] = pull([[value, full([2, 2], 1)]])
    expect(valuesOf(gradient!).map(Number.isNaN)).toEqual([true, false, true, false])
  })
  claim('parameters and groups that do not fit are refused', () => {
    const residual = zeros([4, 2])
    expect(() => batchNorm(zeros([2, 4]), undefined, undefined, 1e-5, { residual })).toThrow(
      /\[2, 4\], got \[4, 2\]/,
    )
    expect(() => batchNorm(zeros([2, 4]), zeros([3]), undefined, 1e-5)).toThrow(/shape \[4\], got \[3\]/)
    expect(() => batchNorm(zeros([2, 4]), zeros([4], 'f64'), undefined, 1e-5)).toThrow(/number type/)
    expect(() => groupNorm(zeros([2, 3, 4]), 3, undefined, undefined, 1e-5)).toThrow(/3 groups/)
    expect(() => groupNorm(zeros([4]), 2, undefined, undefined, 1e-5)).toThrow(/batch/)
  })
}
