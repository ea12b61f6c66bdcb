import { expect } from 'vitest'
import * as pare from '../index.ts'
import { full, rotary, tensor, zeros } from '../index.ts'
import {
  type Claim,
  computing,
  exact,
  exactTensor,
  expectNear,
  expectShape,
  valuesOf,
} from './claims.suite.ts'

const rowsOf = (values: number[], width: number) =>
  Array.from({ length: values.length / width }, (_, i) => values.slice(i * width, (i + 1) * width))
const total = (row: number[]) => row.reduce((a, b) => a + b, 0)

export function normalizeClaims(claim: Claim): void {
  for (const dtype of computing) {
    for (const width of [1, 7, 64, 129, 1030]) {
      claim(`${dtype}: softmax and norms of rows of ${width} follow their definitions`, () => {
        const x = exactTensor([3, 2, width], dtype)
        const rows = rowsOf(valuesOf(x), width)
        const powers = rows.map((row) => row.map(Math.exp))
        const units = 16 + width // a sum of n terms in any order is within n roundings
        expectNear(
          x.softmax(),
          powers.flatMap((row) => row.map((p) => p / total(row))),
          { units },
        )
        expectNear(
          x.logSoftmax(),
          rows.flatMap((row, i) => row.map((v) => v - Math.log(total(powers[i]!)))),
          {
            units,
            scale: 4,
          },
        )
        const [weight, bias] = [exactTensor([width], dtype, 5), exactTensor([width], dtype, 6)]
        const [w, b] = [valuesOf(weight), valuesOf(bias)]
        const epsilon = 2 ** -10
        const rms = rows.flatMap((row) => {
          const scale = 1 / Math.sqrt(total(row.map((v) => v * v)) / width + epsilon)
          return row.map((v) => v * scale)
        })
        expectNear(
          pare.rmsNorm(x, weight, epsilon),
          rms.map((v, i) => v * w[i % width]!),
          { units },
        )
        expectNear(pare.rmsNorm(x, undefined, epsilon), rms, { units })
        const layer = rows.flatMap((row) => {
          const mean = total(row) / width
          const scale = 1 / Math.sqrt(total(row.map((v) => (v - mean) ** 2)) / width + epsilon)
          return row.map((v) => (v - mean) * scale)
        })
        const scaled = layer.map((v, i) => v * w[i % width]! + b[i % width]!)
        expectNear(pare.layerNorm(x, weight, bias, epsilon), scaled, { units, scale: 8 })
        expectNear(pare.layerNorm(x, undefined, undefined, epsilon), layer, { units, scale: 8 })
        expectNear(
          pare.layerNorm(x, weight, undefined, epsilon),
          layer.map((v, i) => v * w[i % width]!),
          {
            units,
            scale: 8,
          },
        )
      })
    }
    claim(`${dtype}: softmax does not overflow, hides minus infinity, and shows NaN`, () => {
      const x = tensor([1000, 1000, -Infinity, 0, NaN, 1, -Infinity, -Infinity, -Infinity], [3, 3], dtype)
      expectNear(x.softmax(), [0.5, 0.5, 0, NaN, NaN, NaN, NaN, NaN, NaN])
      expectNear(x.logSoftmax().select(0, 0), [-Math.LN2, -Math.LN2, -Infinity], { units: 2 })
    })
    claim(`${dtype}: softmax along another axis is softmax of the transposed tensor`, () => {
      const x = exactTensor([5, 4, 9], dtype)
      expectNear(x.softmax(1), valuesOf(x.transpose().contiguous().softmax().transpose()), { units: 0 })
      expectNear(x.logSoftmax(0), valuesOf(x.transpose(0, 2).contiguous().logSoftmax().transpose(0, 2)), {
        units: 0,
      })
    })
    claim(`${dtype}: rotary turns pairs in both pairings and leaves the rest`, () => {
      const [tokens, dim, rotated] = [5, 12, 8]
      const half = rotated / 2
      const x = exactTensor([2, 3, tokens, dim], dtype)
      const angles = exact(tokens * half, 9)
      const wide = dtype === 'f64' ? 'f64' : 'f32'
      const [cos, sin] = [Math.cos, Math.sin].map((f) => tensor(angles.map(f), [tokens, half], wide))
      const v = valuesOf(x)
      for (const interleaved of [false, true]) {
        const expected = v.map((value, i) => {
          const [row, d] = [Math.floor(i / dim), i % dim]
          if (d >= rotated) return value
          const j = interleaved ? Math.floor(d / 2) : d % half
          const isFirst = interleaved ? d % 2 === 0 : d < half
          const partner = v[i + (isFirst ? 1 : -1) * (interleaved ? 1 : half)]!
          const angle = angles[(row % tokens) * half + j]!
          return value * Math.cos(angle) + (isFirst ? -1 : 1) * partner * Math.sin(angle)
        })
        expectNear(rotary(x, cos!, sin!, { interleaved }), expected, { units: 4, scale: 2 })
        const view = x.transpose(0, 1)
        const turned = rotary(view.contiguous(), cos!, sin!, { interleaved })
        expectNear(rotary(view, cos!, sin!, { interleaved }), valuesOf(turned), { units: 0 })
      }
    })
  }
  claim('empty rows and tensors without rows pass', () => {
    expectShape(zeros([0, 5]).softmax(), [0, 5])
    expectShape(zeros([2, 0]).softmax(), [2, 0])
    expectShape(pare.rmsNorm(zeros([0, 4]), full([4], 1), 1e-5), [0, 4])
    expectShape(rotary(zeros([2, 0, 4]), zeros([0, 2]), zeros([0, 2])), [2, 0, 4])
  })
  claim('a norm of zeros is zero, not NaN', () => {
    expectNear(pare.rmsNorm(zeros([2, 8]), full([8], 1), 1e-6), new Float64Array(16))
    expectNear(pare.layerNorm(full([2, 8], 3), full([8], 1), undefined, 1e-6), new Float64Array(16))
  })
  claim('weights and tables that do not fit are refused', () => {
    expect(() => pare.rmsNorm(zeros([2, 4]), zeros([3]), 1e-5)).toThrow(/shape \[4\], got \[3\]/)
    expect(() => pare.layerNorm(zeros([2, 4]), zeros([4], 'f64'), undefined, 1e-5)).toThrow(/number type/)
    expect(() => rotary(zeros([3, 4]), zeros([3, 3]), zeros([3, 3]))).toThrow(/at most dim/)
    expect(() => rotary(zeros([3, 4]), zeros([2, 2]), zeros([2, 2]))).toThrow(/tokens/)
    expect(() => rotary(zeros([3, 4]), zeros([3, 2], 'bf16'), zeros([3, 2], 'bf16'))).toThrow(/f32 or f64/)
  })
}
