/** What a conversion did, weight by weight and in all. */
import type { WeightRole } from '../../models/write/tensor_plan.ts'
import type { Difference } from './difference.ts'

/**
 * How a weight went over.
 *
 *   lossless      every value is equal
 *   codes kept    the codes are the same, scales or offsets were rounded to another type
 *   rounded       numbers to narrower numbers, or to codes for the first time
 *   requantised   codes to values to other codes: rounded twice
 */
export type Carried = 'lossless' | 'codes kept' | 'rounded' | 'requantised'
export const carriedNames = ['lossless', 'codes kept', 'rounded', 'requantised'] as const satisfies Carried[]

export interface ConvertedWeight {
  name: string
  role: WeightRole
  /** How source and result store it. */
  from: string
  to: string
  bytesBefore: number
  bytes: number
  carried: Carried
  /** Largest absolute difference of a value. */
  largestDifference: number
  /** The same relative to the scale of its group, where the codes are kept. */
  largestInSteps?: number
  /** Sum of squares of the differences over that of the source. */
  relativeError: number
}

export interface ConversionReport {
  source: string
  output: string
  target: string
  format: string
  /** Every value of every weight is equal. */
  lossless: boolean
  /** Weights by how they went over. */
  counts: Record<Carried, number>
  /** Sum of squares of all differences over that of the source; of what was rounded twice alone beside it. */
  relativeError: number
  requantisedError?: number
  /** Of all weight files. */
  bytesSource: number
  bytes: number
  weights: ConvertedWeight[]
  /** What may be a mistake: codes that were rounded twice. */
  warnings: string[]
  notes: string[]
  /** In the output. */
  files: string[]
  seconds: number
}

/** Sums of squares, of differences and of what they are differences of. */
export type Squares = Pick<Difference, 'squares' | 'energy'>

/** Of some weights together. */
export function relativeError(weights: readonly Squares[]): number {
  const squares = weights.reduce((sum, weight) => sum + weight.squares, 0)
  const energy = weights.reduce((sum, weight) => sum + weight.energy, 0)
  return squares === 0 ? 0 : squares / energy
}
