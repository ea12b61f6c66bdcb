import { afterEach, expect, test } from 'vitest'
import { ResourceError } from './errors.ts'
import { currentKernels, heldMemory, scope, setMemoryLimit, trimPool, zeros } from './index.ts'

afterEach(() => setMemoryLimit(Number.POSITIVE_INFINITY))

const MiB = 2 ** 20

test('past the limit an allocation fails with a typed error, and the engine works on', () => {
  setMemoryLimit(heldMemory() + 16 * MiB)
  scope(() => {
    expect(() => zeros([32 * MiB])).toThrow(expect.objectContaining({ code: 'PARE_E_MEMORY', exitCode: 5 }))
    expect(() => zeros([32 * MiB])).toThrow(ResourceError)
    const x = zeros([MiB]).add(1)
    expect(x.sum().item()).toBe(MiB)
  })
})
test('what the pool keeps is given back before anything fails', () => {
  scope(() => void zeros([8 * MiB]))
  expect(currentKernels().memory().pooled).toBeGreaterThanOrEqual(32 * MiB)
  setMemoryLimit(heldMemory() + MiB)
  scope(() => void zeros([6 * MiB]))
  expect(heldMemory()).toBeLessThan(40 * MiB)
})
test('a product that does not fit fails as a whole, and fits with a higher limit', () => {
  scope(() => {
    const x = zeros([1024, 1024])
    trimPool()
    setMemoryLimit(heldMemory() + 2 * MiB)
    expect(() => x.matmul(x)).toThrow(ResourceError)
    setMemoryLimit(Number.POSITIVE_INFINITY)
    expect(x.matmul(x).shape).toEqual([1024, 1024])
  })
})
test('without a limit all is as before', () => {
  setMemoryLimit(MiB)
  setMemoryLimit(Number.POSITIVE_INFINITY)
  expect(scope(() => zeros([MiB]).sum().item())).toBe(0)
})
