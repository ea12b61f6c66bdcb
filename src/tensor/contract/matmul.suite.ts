import { expect } from 'vitest'
import { concat, explicitPaths, full, gram, linear, matmul, type Tensor, tensor, zeros } from '../index.ts'
import { type Claim, computing, exactTensor, expectNear, expectShape, valuesOf } from './claims.suite.ts'

/** [m, k] times [k, n] by the definition. */
function definition(a: Tensor, b: Tensor): number[] {
  const [m, k] = a.shape as [number, number]
  const n = b.shape[1]!
  const [x, y] = [valuesOf(a), valuesOf(b)]
  return Array.from({ length: m * n }, (_, i) => {
    let sum = 0
    for (let l = 0; l < k; l++) sum += x[Math.floor(i / n) * k + l]! * y[l * n + (i % n)]!
    return sum
  })
}
/** Sums of k products below 4: in bf16 they are summed in f32 and round once. */
const near = (dtype: string, k: number) => ({
  units: dtype === 'bf16' ? 1.01 : k + 1,
  scale: dtype === 'bf16' ? 0.1 : 4,
})

export function matmulClaims(claim: Claim): void {
  for (const dtype of computing) {
    for (const [m, k, n] of [
      [1, 1, 1],
      [1, 17, 5],
      [3, 64, 1],
      [31, 33, 65],
      [130, 70, 67],
    ] as const) {
      claim(`${dtype}: ${m} x ${k} times ${k} x ${n}, with both, either and no operand transposed`, () => {
        const [a, b] = [exactTensor([m, k], dtype, 1), exactTensor([k, n], dtype, 2)]
        const want = definition(a, b)
        const turned = (x: Tensor) => x.transpose().contiguous().transpose()
        for (const left of [a, turned(a)]) {
          for (const right of [b, turned(b)]) expectNear(matmul(left, right), want, near(dtype, k))
        }
      })
    }
    claim(`${dtype}: slices with steps and expanded rows multiply like their copies`, () => {
      const [a, b] = [exactTensor([20, 30], dtype), exactTensor([30, 24], dtype, 2)]
      const pairs: [Tensor, Tensor][] = [
        [a.slice(0, 1, 19, 3), b.slice(1, 0, 24, 2)],
        [a.slice(1, 0, 30, 2), b.slice(0, 0, 30, 2)],
        [a.slice(0, 0, 1).expand([7, 30]), b.transpose().slice(1, 0, 30).transpose()],
      ]
      for (const [x, y] of pairs) {
        expectNear(matmul(x, y), definition(x.contiguous(), y.contiguous()), near(dtype, 30))
      }
    })
    claim(`${dtype}: leading axes broadcast on both sides`, () => {
      const [a, b] = [exactTensor([2, 1, 5, 6], dtype), exactTensor([3, 6, 4], dtype, 2)]
      const result = matmul(a, b)
      expectShape(result, [2, 3, 5, 4])
      for (let i = 0; i < 2; i++) {
        for (let j = 0; j < 3; j++) {
          const want = definition(a.select(0, i).select(0, 0), b.select(0, j))
          expectNear(result.select(0, i).select(0, j), want, near(dtype, 6))
        }
      }
      const many = exactTensor([2, 3, 5, 6], dtype, 4)
      const shared = matmul(many, b.select(0, 0))
      expectShape(shared, [2, 3, 5, 4])
      expectNear(shared.select(0, 1), valuesOf(matmul(many.select(0, 1), b.select(0, 0))), near(dtype, 6))
      expectNear(
        matmul(many.transpose(0, 1), b.select(0, 0)),
        valuesOf(shared.transpose(0, 1)),
        near(dtype, 6),
      )
    })
    claim(`${dtype}: the epilogue is + bias, activation, + residual`, () => {
      const [x, w] = [exactTensor([2, 9, 12], dtype), exactTensor([7, 12], dtype, 2)]
      const [bias, residual] = [exactTensor([7], dtype, 3), exactTensor([2, 9, 7], dtype, 4)]
      const plain = definition(x.reshape([18, 12]), w.transpose())
      const [b, r] = [valuesOf(bias), valuesOf(residual)]
      const activations = {
        none: (v: number) => v,
        relu: (v: number) => Math.max(v, 0),
        silu: (v: number) => v / (1 + Math.exp(-v)),
      }
      for (const [name, f] of Object.entries(activations)) {
        const activation = name as keyof typeof activations
        const want = plain.map((v, i) => f(v + b[i % 7]!) + r[i]!)
        expectNear(linear(x, w, bias, { activation, residual }), want, { units: 20, scale: 4 })
        expectNear(
          explicitPaths(() => linear(x, w, bias, { activation, residual })),
          want,
          { units: 40, scale: 8 },
        )
      }
      expectNear(linear(x, w), plain, near(dtype, 12))
      expectNear(
        matmul(x, w.transpose(), { residual }),
        plain.map((v, i) => v + r[i]!),
        { units: 20, scale: 4 },
      )
      expectNear(linear(x.select(0, 0).select(0, 0), w), plain.slice(0, 7), near(dtype, 12))
    })
    claim(`${dtype}: NaN and infinities reach exactly the rows and columns that they stand in`, () => {
      const a = tensor([1, NaN, 2, 3, Infinity, 1], [3, 2], dtype)
      const b = tensor([1, 2, 1, 1], [2, 2], dtype)
      expectNear(matmul(a, b), [NaN, NaN, 5, 7, Infinity, Infinity])
      expectNear(matmul(a, b, { activation: 'relu' }), [NaN, NaN, 5, 7, Infinity, Infinity])
      expectNear(matmul(a, zeros([2, 1], dtype)), [NaN, 0, NaN])
    })
    claim(`${dtype}: no inner entries give zeros, then the epilogue; no rows give nothing`, () => {
      expectNear(matmul(zeros([2, 0], dtype), zeros([0, 3], dtype)), new Float64Array(6))
      const bias = tensor([1, 2, 3], [3], dtype)
      expectNear(matmul(zeros([2, 0], dtype), zeros([0, 3], dtype), { bias }), [1, 2, 3, 1, 2, 3])
      expectShape(matmul(zeros([0, 4], dtype), zeros([4, 3], dtype)), [0, 3])
      expectShape(matmul(zeros([5, 2, 4], dtype), zeros([5, 4, 0], dtype)), [5, 2, 0])
      expectShape(linear(zeros([2, 0, 4], dtype), zeros([3, 4], dtype)), [2, 0, 3])
    })
    for (const into of dtype === 'f64' ? (['f64'] as const) : (['f32', 'f64'] as const)) {
      claim(`${dtype}: gram into ${into} is x^T x over all rows, symmetric to the bit`, () => {
        for (const shape of [
          [1, 1],
          [50, 7],
          [2, 33, 70],
          [0, 3],
        ]) {
          const x = exactTensor(shape, dtype)
          const [rows, n] = [x.size / shape.at(-1)!, shape.at(-1)!]
          const flat = x.reshape([rows, n])
          const sums = gram(x, { into })
          expect(sums.dtype).toBe(into)
          expectNear(sums, definition(flat.transpose().contiguous(), flat), { units: rows + 1, scale: 4 })
          expect(sums.transpose().bytes()).toEqual(sums.bytes())
          const view = flat.transpose().contiguous().transpose()
          expectNear(gram(view, { into }), valuesOf(sums), { units: rows + 1, scale: 4 })
        }
      })
    }
  }
  claim('f64 sums of f32 rows keep what f32 sums lose', () => {
    // 4096^2 + 1 needs 25 bits; the two stand further apart than the rows that may be summed in f32 first.
    const x = concat([full([1, 1], 4096), zeros([2100, 1]), full([1, 1], 1)])
    expect(gram(x, { into: 'f64' }).item()).toBe(2 ** 24 + 1)
    expect(() => gram(x.cast('f64'), { into: 'f32' })).toThrow(/sum into f64/)
  })
  claim('vectors and operands that do not fit are refused with both shapes', () => {
    expect(() => matmul(zeros([3]), zeros([3, 2]))).toThrow(
      /needs matrices, got \[3\] and \[3, 2\]; give a vector/,
    )
    expect(() => matmul(zeros([2, 3]), zeros([4, 2]))).toThrow(/3 columns, which must equal the 4 rows/)
    expect(() => matmul(zeros([2, 3]), zeros([3, 2], 'f64'))).toThrow(/one number type/)
    expect(() => matmul(zeros([2, 3]), zeros([3, 2]), { bias: zeros([3]) })).toThrow(/bias needs shape \[2\]/)
    expect(() => matmul(zeros([2, 3]), zeros([3, 2]), { residual: zeros([2]) })).toThrow(
      /residual needs shape/,
    )
    expect(() => linear(zeros([2, 3]), zeros([4, 2]))).toThrow(/\[out, in\] must agree/)
    expect(() => matmul(zeros([2, 2], 'i8'), zeros([2, 2], 'i8'))).toThrow(/got i8; cast/)
  })
}
