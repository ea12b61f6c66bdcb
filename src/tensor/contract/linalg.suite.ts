import { expect } from 'vitest'
import { NumericalError } from '../errors.ts'
import * as pare from '../index.ts'
import { matmul, type Tensor, tensor, zeros } from '../index.ts'
import { type Claim, exactTensor, expectNear, expectShape, reals, unit, valuesOf } from './claims.suite.ts'

export const identity = (n: number, dtype: 'f32' | 'f64'): Tensor =>
  tensor(
    Float64Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)),
    [n, n],
    dtype,
  )

/** x^T x / n + 1 / 4: symmetric positive definite, condition below 100. */
export function positive(n: number, dtype: 'f32' | 'f64'): Tensor {
  const x = exactTensor([2 * n, n], dtype, 3)
  return pare.add(matmul(x.transpose(), x).div(2 * n), identity(n, dtype).mul(0.25))
}

/** |x - y| in units of rounding, relative to the largest entry of `scale`. */
export function distance(x: Tensor, y: Tensor, scale: Tensor = y): number {
  if (x.size === 0) return 0
  return x.sub(y).abs().max().item() / (unit(x.dtype) * Math.max(scale.abs().max().item(), 2 ** -100))
}

/** Zero or negative where the largest entry of a column is: the free sign is fixed. */
function expectFixedSigns(vectors: Tensor): void {
  if (vectors.size === 0) return
  const largest = vectors.max(0)
  expect(valuesOf(largest.sub(vectors.neg().max(0))).every((gap) => gap > -1e-3)).toBe(true)
}

export function linalgClaims(claim: Claim): void {
  for (const dtype of reals) {
    claim(`${dtype}: hand-worked 2 x 2 and 3 x 3 factors`, () => {
      const a = tensor([4, 2, 2, 10], [2, 2], dtype)
      expectNear(pare.cholesky(a), [2, 0, 1, 3])
      expectNear(pare.choleskyInverse(pare.cholesky(a)), [10 / 36, -2 / 36, -2 / 36, 4 / 36], { units: 8 })
      expectNear(pare.solve(tensor([0, 2, 1, 1], [2, 2], dtype), tensor([4, 5], [2, 1], dtype)), [3, 2])
      const { values, vectors } = pare.eigh(tensor([2, 1, 1, 2], [2, 2], dtype))
      expectNear(values, [1, 3], { units: 8 })
      expectNear(vectors.abs(), new Array(4).fill(Math.SQRT1_2), { units: 8 })
      expectNear(pare.svd(tensor([0, 3, 0, -4, 0, 0], [2, 3], dtype)).s, [4, 3], { units: 8 })
      const { q, r } = pare.qr(tensor([3, 0, 4, 5], [2, 2], dtype))
      expectNear(q, [0.6, -0.8, 0.8, 0.6], { units: 8 })
      expectNear(r, [5, 4, 0, 3], { units: 8, scale: 5 })
    })
    for (const n of [0, 1, 2, 5, 17, 33]) {
      claim(`${dtype}: n = ${n}: factors multiply back, and solves leave small residuals`, () => {
        const a = positive(n, dtype)
        const l = pare.cholesky(a)
        expect(distance(matmul(l, l.transpose()), a)).toBeLessThan(8 * (n + 4))
        for (let i = 0; i < n; i++)
          expect(valuesOf(l.select(0, i).slice(0, i + 1)).every((x) => x === 0)).toBe(true)
        const b = exactTensor([n, 3], dtype, 7)
        // |A X - B| <= c n eps |A| |X| (Higham, theorem 9.3, without pivot growth); |A| stays below 2 n.
        const x = pare.solve(a, b)
        if (n > 0) expect(distance(matmul(a, x), b, x)).toBeLessThan(32 * (n + 1))
        const inverse = pare.choleskyInverse(l)
        if (n > 0)
          expect(distance(matmul(a, inverse), identity(n, dtype), inverse)).toBeLessThan(32 * (n + 1))
        for (const lower of [true, false]) {
          for (const transpose of [true, false]) {
            for (const unit of [true, false]) {
              const triangle = lower ? l : l.transpose()
              const solved = pare.triangularSolve(triangle, b, { lower, transpose, unit })
              const ones = identity(n, dtype)
              const used = unit ? triangle.sub(triangle.mul(ones)).add(ones) : triangle
              const back = matmul(transpose ? used.transpose() : used, solved)
              if (n > 0) expect(distance(back, b, solved)).toBeLessThan(32 * (n + 1))
            }
          }
        }
        const { values, vectors } = pare.eigh(a)
        const rebuilt = matmul(vectors.mul(values), vectors.transpose())
        expect(distance(rebuilt, a)).toBeLessThan(32 * (n + 1))
        expect(distance(matmul(vectors.transpose(), vectors), identity(n, dtype))).toBeLessThan(32 * (n + 1))
        expect(valuesOf(values)).toEqual(valuesOf(values).sort((x, y) => x - y))
        expectFixedSigns(vectors)
      })
    }
    for (const [m, n] of [
      [1, 1],
      [5, 3],
      [3, 5],
      [33, 20],
      [20, 33],
      [4, 0],
      [0, 4],
    ] as const) {
      claim(`${dtype}: QR and SVD of ${m} x ${n} multiply back and are orthonormal`, () => {
        const a = exactTensor([m, n], dtype)
        const k = Math.min(m, n)
        const { q, r } = pare.qr(a)
        expectShape(q, [m, k])
        expectShape(r, [k, n])
        expect(distance(matmul(q, r), a)).toBeLessThan(32 * (m + n))
        expect(distance(matmul(q.transpose(), q), identity(k, dtype))).toBeLessThan(32 * (m + n))
        for (let i = 0; i < k; i++) {
          expect(valuesOf(r.select(0, i).slice(0, 0, i)).every((x) => x === 0)).toBe(true)
          expect(valuesOf(r)[i * n + i]).toBeGreaterThanOrEqual(0)
        }
        const { u, s, vt } = pare.svd(a)
        expectShape(u, [m, k])
        expectShape(vt, [k, n])
        expect(distance(matmul(u.mul(s), vt), a)).toBeLessThan(32 * (m + n))
        expect(distance(matmul(u.transpose(), u), identity(k, dtype))).toBeLessThan(32 * (m + n))
        expect(distance(matmul(vt, vt.transpose()), identity(k, dtype))).toBeLessThan(32 * (m + n))
        expect(valuesOf(s)).toEqual(valuesOf(s).sort((x, y) => y - x))
        expect(valuesOf(s).every((x) => x >= 0)).toBe(true)
        expectFixedSigns(u)
      })
    }
    claim(`${dtype}: a matrix of rank 1 has one singular value, and orthonormal vectors all the same`, () => {
      const a = matmul(exactTensor([6, 1], dtype), exactTensor([1, 4], dtype, 2))
      const { u, s, vt } = pare.svd(a)
      expect(
        valuesOf(s)
          .slice(1)
          .every((x) => x <= 32 * unit(dtype) * valuesOf(s)[0]!),
      ).toBe(true)
      expect(distance(matmul(u.mul(s), vt), a)).toBeLessThan(320)
      expect(distance(matmul(u.transpose(), u), identity(4, dtype))).toBeLessThan(320)
      expectNear(pare.svd(zeros([3, 2], dtype)).s, [0, 0])
    })
    claim(`${dtype}: only the lower triangle of a symmetric matrix is read`, () => {
      const a = positive(6, dtype)
      const mask = Uint8Array.from({ length: 36 }, (_, i) => Number(i % 6 <= Math.floor(i / 6)))
      const spoiled = pare.where(tensor(mask, [6, 6], 'bool'), a, NaN)
      expectNear(pare.cholesky(spoiled), valuesOf(pare.cholesky(a)), { units: 0 })
      expectNear(pare.eigh(spoiled).values, valuesOf(pare.eigh(a).values), { units: 0 })
    })
    claim(`${dtype}: batches are solved matrix by matrix, also through views`, () => {
      const a = pare.stack([positive(4, dtype), positive(4, dtype).mul(2), identity(4, dtype)])
      const b = exactTensor([3, 4, 2], dtype)
      const x = pare.solve(a, b)
      expectShape(x, [3, 4, 2])
      expectNear(x.select(0, 1), valuesOf(pare.solve(a.select(0, 1), b.select(0, 1))), { units: 0 })
      const { values } = pare.eigh(a.reshape([3, 1, 4, 4]).transpose())
      expectShape(values, [3, 1, 4])
      expectNear(values.select(0, 2), [1, 1, 1, 1], { units: 4 })
      const turned = b.transpose().contiguous().transpose()
      expectNear(pare.solve(a.transpose(), turned), valuesOf(x), { units: 64 })
    })
    claim(`${dtype}: a matrix that cannot be factorised ends in a numerical error`, () => {
      const indefinite = tensor([1, 2, 2, 1], [2, 2], dtype)
      expect(() => pare.cholesky(indefinite)).toThrow(NumericalError)
      expect(() => pare.cholesky(indefinite)).toThrow(/pivot 1/)
      expect(() => pare.cholesky(tensor([NaN], [1, 1], dtype))).toThrow(NumericalError)
      expect(() => pare.cholesky(zeros([2, 2], dtype))).toThrow(/pivot 0/)
      expect(() => pare.solve(zeros([2, 2], dtype), zeros([2, 1], dtype))).toThrow(NumericalError)
    })
  }
  claim('matrices that do not fit are refused', () => {
    expect(() => pare.cholesky(zeros([2, 3]))).toThrow(/square/)
    expect(() => pare.solve(zeros([2, 2]), zeros([3, 1]))).toThrow(/must agree/)
    expect(() => pare.eigh(zeros([2, 2], 'bf16'))).toThrow(/f32 or f64, got bf16/)
    expect(() => pare.qr(zeros([3]))).toThrow(/needs matrices/)
  })
}
