import { afterAll, expect, test } from 'vitest'
import { kernelSuite } from './kernels.suite.ts'
import { nativeKernels, setThreads, threads } from './native.ts'
import { referenceKernels } from './reference/kernels.ts'
import { philox } from './reference/random.ts'

kernelSuite({ name: 'reference', kernels: referenceKernels, isReference: true })

const before = threads()
kernelSuite({ name: 'native', kernels: nativeKernels, setThreads })
afterAll(() => setThreads(before))

test('Philox4x32-10 gives the known answer of Random123 for all ones', () => {
  expect(philox(2n ** 128n - 1n, 2n ** 64n - 1n)).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
})
