/** What came out of a compression. The field names are stable. */
import type { LanguageMetrics } from '../metrics/language.ts'

export interface LayerReport {
  name: string
  /** Stored bits a weight, scales and zeros included. */
  bits: number
  /** |(W' - W) X|^2 / |W X|^2 on the calibration inputs; without calibration |W' - W|^2 / |W|^2. */
  relativeError: number
  /** The same of round-to-nearest on the same grid. */
  relativeErrorRtn: number
  notes: readonly string[]
}

export interface CompressionReport extends Partial<LanguageMetrics> {
  source: string
  /** SHA-256 of the archive or file that the source came from, where it is known. */
  sourceSha256?: string
  output: string
  method: string
  target: string
  /** Size of the result's weight files. */
  bytes: number
  bytesSource: number
  bitsPerWeight: number
  fileBitsPerWeight: number
  seconds: number
  /** Largest resident memory of the process so far. */
  peakMemoryBytes: number
  layers: readonly LayerReport[]
  /** Files of the result. */
  files: readonly string[]
  calibration?: {
    files: readonly string[]
    samples: number
    length: number
    seed: number
    tokens: number
    sha256: string
  }
  notes: readonly string[]
  version: string
}

/** Largest resident memory of this process so far, in bytes. */
export const peakMemory = (): number => process.resourceUsage().maxRSS * 1024
