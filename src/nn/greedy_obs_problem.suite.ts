/** Problems of greedy optimal brain surgeon over a synthetic layer, and what is expected of them by other ways. */
import { expect } from 'vitest'
import { cholesky, choleskyInverse, matmul, scope, type Tensor, tensor } from '../tensor/index.ts'
import { syntheticLayer } from './synthetic_layer.suite.ts'

export const numbers = (x: Tensor) => x.toArray() as Float64Array

/** H = 2/n X^T X of a synthetic layer, with its inverse. */
export function problemOf(options: { rows: number; columns: number; tokens: number; seed?: number }) {
  const { weight, inputs, gram } = syntheticLayer(options)
  const hessian = gram.mul(2 / options.tokens)
  return { weight, inputs, hessian, inverse: choleskyInverse(cholesky(hessian)) }
}
export const rowOf = (x: Tensor, row: number) => numbers(x).slice(row * x.extent(1), (row + 1) * x.extent(1))

/** |(a - b) X|^2 / n of one row. */
export function outputChange(a: Float64Array, b: Float64Array, hessian: Tensor): number {
  return scope(() => {
    const lost = tensor(
      a.map((x, i) => x - b[i]!),
      [1, a.length],
      'f64',
    )
    return matmul(lost, hessian).mul(lost).sum().item() / 2
  })
}

/** Least squares of the row's outputs on some columns, through the normal equations. */
export function refit(weight: Float64Array, hessian: Float64Array, kept: readonly number[]): Float64Array {
  const n = weight.length
  const rows = kept.map((p) => [
    ...kept.map((q) => hessian[p * n + q]!),
    weight.reduce((sum, w, j) => sum + hessian[p * n + j]! * w, 0),
  ])
  for (const [i, row] of rows.entries())
    for (const [k, other] of rows.entries()) {
      if (k === i) continue
      const factor = other[i]! / row[i]!
      for (let j = i; j < other.length; j++) other[j]! -= factor * row[j]!
    }
  const result = new Float64Array(n)
  for (const [i, p] of kept.entries()) result[p] = rows[i]!.at(-1)! / rows[i]![i]!
  return result
}

export function gridOf(
  rows: number,
  columns: number,
  { bits, scale, zero }: { bits: number; scale: number; zero: number },
) {
  return {
    bits,
    scales: tensor(
      Float64Array.from({ length: rows }, () => scale),
      [rows, 1],
      'f64',
    ),
    zeros: tensor(
      Uint8Array.from({ length: rows }, () => zero),
      [rows, 1],
      'u8',
    ),
    groupOf: new Uint32Array(columns),
  }
}

/** By Gauss and Jordan. */
export function solve(matrix: number[][], right: Float64Array): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]!])
  for (const [i, row] of rows.entries())
    for (const [k, other] of rows.entries()) {
      if (k === i) continue
      const factor = other[i]! / row[i]!
      for (let j = i; j < other.length; j++) other[j]! -= factor * row[j]!
    }
  return rows.map((row, i) => row.at(-1)! / row[i]!)
}

/** Hundreds of f64 downdates of a matrix with a condition of some thousands. */
export function close(found: Float64Array, want: Float64Array) {
  const scale = Math.max(...want.map(Math.abs), 1e-300)
  for (const [i, x] of found.entries()) expect(Math.abs(x - want[i]!)).toBeLessThan(1e-8 * scale)
}
