import { describe } from 'vitest'
import { claimsOn } from '../contract/claims.suite.ts'
import { nativeKernels, referenceKernels } from '../index.ts'
import { fusedGradientClaims } from './fused_gradients.suite.ts'
import { gradientClaims } from './gradients.suite.ts'
import { tapeClaims } from './tape.suite.ts'

describe.each([
  ['native', nativeKernels],
  ['reference', referenceKernels],
] as const)('%s', (_, kernels) => {
  const claim = claimsOn(kernels)
  tapeClaims(claim)
  gradientClaims(claim)
  fusedGradientClaims(claim)
})
