/** What the contract suite is written with: claims about one set of kernels, exact inputs, reasoned tolerances. */
import { expect, test } from 'vitest'
import {
  type DType,
  type Kernels,
  nativeKernels,
  type Shape,
  scope,
  type Tensor,
  tensor,
  withKernels,
} from '../index.ts'
import { elementCount } from '../shape.ts'

export type Claim = (title: string, body: () => void) => void

/** Tests that run on these kernels, in a scope, and must leave as many tensors alive as they found. */
export function claimsOn(kernels: () => Kernels): Claim {
  return (title, body) =>
    test(title, () => {
      const set = kernels()
      const before = set.memory().tensors
      withKernels(set, () =>
        scope(() => {
          body()
        }),
      )
      expect(set.memory().tensors).toBe(before)
    })
}

/** Runs on the native kernels, in a scope that keeps nothing. */
export const onNative = (body: () => void): void =>
  withKernels(nativeKernels(), () =>
    scope(() => {
      body()
    }),
  )

export const computing = ['f32', 'f64', 'bf16'] as const
export const reals = ['f32', 'f64'] as const

/** Largest relative error of one rounding. */
export const unit = (dtype: DType): number =>
  ({ f32: 2 ** -24, f64: 2 ** -53, bf16: 2 ** -8, f16: 2 ** -11 })[dtype as 'f32'] ?? 0

/** Values in [-2, 2] that every computing type holds exactly: multiples of 1/64 with at most 8 significant bits. */
export function exact(count: number, seed = 1): Float64Array {
  let state = seed * 2654435761
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return ((state >>> 24) - 128) / 64
  })
}

export const exactTensor = (shape: Shape, dtype: DType = 'f32', seed = 1): Tensor =>
  tensor(exact(elementCount(shape), seed), shape, dtype)

export const valuesOf = (x: Tensor): number[] => Array.from(x.toArray() as ArrayLike<number | bigint>, Number)

export interface Tolerance {
  /** Roundings of the number type, relative to the size of the expected value. @default 1 */
  units?: number
  /** Added: the size of what cancels, times `units` roundings. @default 0 */
  scale?: number
}

/** Every entry within `units` roundings; NaN, infinities and signs of infinities must agree. */
export function expectNear(
  x: Tensor,
  expected: ArrayLike<number>,
  { units = 1, scale = 0 }: Tolerance = {},
): void {
  const found = valuesOf(x)
  expect(found.length).toBe(expected.length)
  found.forEach((value, i) => {
    const want = expected[i]!
    if (Object.is(value, want) || value === want) return
    const allowed = units * unit(x.dtype) * Math.max(Math.abs(want), scale)
    if (Math.abs(value - want) <= allowed) return
    expect.fail(`entry ${i}: got ${value}, want ${want} within ${allowed} (${x.dtype})`)
  })
}

export const expectShape = (x: Tensor, shape: Shape): void => expect([...x.shape]).toEqual([...shape])
