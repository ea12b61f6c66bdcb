/**
 * The contract of kernels as claims, run over every set: values against hand-worked numbers, brute force and
 * identities; broadcasting; odd and empty shapes; views; NaN and infinities; every number type; memory.
 */
import { describe } from 'vitest'
import { attentionClaims } from './contract/attention.suite.ts'
import { channelNormClaims } from './contract/channel_norm.suite.ts'
import { claimsOn } from './contract/claims.suite.ts'
import { convolutionClaims } from './contract/convolution.suite.ts'
import { elementwiseClaims } from './contract/elementwise.suite.ts'
import { gatherClaims } from './contract/gather.suite.ts'
import { gradientOracleClaims } from './contract/gradients.suite.ts'
import { linalgClaims } from './contract/linalg.suite.ts'
import { matmulClaims } from './contract/matmul.suite.ts'
import { memoryClaims } from './contract/memory.suite.ts'
import { normalizeClaims } from './contract/normalize.suite.ts'
import { optimiserStepClaims } from './contract/optimiser_steps.suite.ts'
import { oracleClaims } from './contract/oracle.suite.ts'
import { poolingClaims } from './contract/pooling.suite.ts'
import { randomClaims } from './contract/random.suite.ts'
import { reduceClaims } from './contract/reduce.suite.ts'
import { sweepClaims } from './contract/sweep.suite.ts'
import { threadClaims } from './contract/threads.suite.ts'
import type { Kernels } from './kernels.ts'

export interface KernelsUnderTest {
  name: string
  kernels: () => Kernels
  /** For sets that share work among threads. */
  setThreads?: (threads: number) => void
  /** Whether this set is what the others are compared with. */
  isReference?: boolean
}

export function kernelSuite({ name, kernels, setThreads, isReference = false }: KernelsUnderTest): void {
  const claim = claimsOn(kernels)
  describe(`${name}: memory and types`, () => memoryClaims(claim))
  describe(`${name}: element by element`, () => elementwiseClaims(claim))
  describe(`${name}: reductions`, () => reduceClaims(claim))
  describe(`${name}: softmax, norms, rotary`, () => normalizeClaims(claim))
  describe(`${name}: attention`, () => attentionClaims(claim))
  describe(`${name}: products`, () => matmulClaims(claim))
  describe(`${name}: convolution`, () => convolutionClaims(claim))
  describe(`${name}: pooling`, () => poolingClaims(claim))
  describe(`${name}: norms of channels`, () => channelNormClaims(claim))
  describe(`${name}: picking and ordering`, () => gatherClaims(claim))
  describe(`${name}: steps of optimisers`, () => optimiserStepClaims(claim))
  describe(`${name}: random streams`, () => randomClaims(claim))
  describe(`${name}: linear algebra`, () => linalgClaims(claim))
  if (!isReference) describe(`${name}: against the reference`, () => oracleClaims(claim))
  if (!isReference) describe(`${name}: random shapes`, () => sweepClaims(claim))
  if (!isReference) describe(`${name}: gradients`, () => gradientOracleClaims(claim))
  if (setThreads) describe(`${name}: threads`, () => threadClaims(claim, setThreads))
}
