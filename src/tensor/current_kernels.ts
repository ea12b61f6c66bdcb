/** The kernels that new tensors are made with. */
import type { Kernels } from './kernels.ts'
import { nativeKernels } from './native.ts'

let current: Kernels | undefined

/** The kernels in use: native unless another set was chosen. */
export function currentKernels(): Kernels {
  current ??= nativeKernels()
  return current
}

/** Runs `body` with other kernels for the tensors that it makes. @example withKernels(referenceKernels(), () => zeros([2])) */
export function withKernels<T>(kernels: Kernels, body: () => T): T {
  const before = current
  current = kernels
  try {
    return body()
  } finally {
    current = before
  }
}
