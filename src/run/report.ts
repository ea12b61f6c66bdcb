/** What came out of a compression. The field names are stable. */
import type { PareWeight } from '../formats/pare_weight.ts'
import type { EmbeddingMetrics } from '../metrics/embeddings.ts'
import type { LanguageMetrics } from '../metrics/language.ts'
import type { Phase } from './progress.ts'
import type { SpeedReport } from './speed_report.ts'
import type { ValueDigest } from './verify/value_digest.ts'
import type { Check, VerificationRecord } from './verify/verification.ts'

export interface LayerReport {
  name: string
  /** Stored bits a weight, scales and zeros included. */
  bits: number
  /** |(W' - W) X|^2 / |W X|^2 on the calibration inputs; without calibration |W' - W|^2 / |W|^2. */
  relativeError: number
  /** The same of round-to-nearest on the same grid; absent where nothing is rounded to one. */
  relativeErrorRtn?: number | undefined
  notes: readonly string[]
  /** Of the values that were computed; absent in reports of earlier versions. */
  values?: ValueDigest | undefined
  /** How a Pare folder puts it together, where that is more than codes of a grid. */
  form?: PareWeight | undefined
}

/** The training of a stage, or of the whole model. */
export interface TuningReport {
  /** `model` for all of them. */
  stage: string
  /**
   * On text of the calibration, before the first pass and after each: the mean squared error of the outputs of a stage, the
   * KL from the source to the model in nats a token.
   */
  losses: readonly number[]
  /** The pass whose numbers were kept; 0 is none. */
  kept: number
  /** Norms and biases that were trained with the weights. */
  floats: readonly { name: string; values: ValueDigest }[]
}

/** A part of the run. */
export interface TimelineEntry {
  phase: Phase
  /** The stage of the model, where the phase goes through them one by one. */
  stage?: string
  /** Seconds from the start of the run. */
  start: number
  /** How long it took. */
  seconds: number
}

export interface MemorySample {
  /** From the start of the run. */
  seconds: number
  /** Resident memory of the process. */
  bytes: number
}

/** Another way to store the same source, to hold the result against. */
export interface Baseline {
  name: string
  /** Size of its weight files. */
  bytes: number
  /** Stored bits a compressed weight. */
  bitsPerWeight?: number
  /** To the source, in nats a token, on the tokens of this report. */
  kl?: number
  /** On the tokens of this report. */
  perplexity?: number
  /** Of encoders: to the vectors of the source, on the texts of this report. */
  embeddings?: EmbeddingMetrics
}

/** What rewrote the model before its weights were compressed. */
export interface TransformReport {
  method: string
  /** Tensors that it changed. */
  tensors: number
  notes: readonly string[]
}

/** How a size was met. */
export interface MixReport {
  /** What was asked for, at most. */
  bytes: number
  /** By the KL with one matrix replaced, or by the output that a matrix loses. */
  sensitivity: 'measured' | 'error'
  /** Windows of the calibration text that the KL was measured on. */
  windows?: number
  windowTokens?: number
  /** Matrices at each level. */
  levels: Readonly<Record<string, number>>
}

/** What the source and the result write after the same prompt, each taking its most likely token. */
export interface GreedySample {
  prompt: string
  /** Of the result, without the prompt. */
  text: string
  textSource: string
  /** Where the two part: the first token that differs, from 0, and the characters before it. Absent where they do not. */
  parts?: { token: number; character: number }
}

/** The logits of a fixed prompt, source against result. */
export interface LogitParting {
  prompt: string
  /** One for each token of the prompt: what the models expect after it. */
  positions: readonly {
    /** The token that was read. */
    token: string
    /** From the source to the result, in nats. */
    kl: number
    /** Whether both expect the same token. */
    agrees: boolean
    /** Most likely next token of the result. */
    top: string
    topSource: string
  }[]
  /** The first position where the most likely tokens differ, from 0; absent where none does. */
  first?: number
}

export interface CompressionReport extends Partial<LanguageMetrics> {
  /** Version of the record, where it comes from a file. */
  reportVersion?: number
  /** Of encoders, which have no perplexity: how near the vectors of texts are to those of the source. */
  embeddings?: EmbeddingMetrics
  source: string
  /** SHA-256 of the archive or file that the source came from, where it is known. */
  sourceSha256?: string
  output: string
  /** `llama`, or `bert` of text encoders; reports of earlier versions have none. */
  family?: string
  method: string
  target: string
  /** How its files are laid out; reports of earlier versions have none. */
  format?: string
  /** What opens the result, the program first, each with its least version. */
  programs?: readonly { readonly name: string; readonly version: string }[]
  /** Size of the result's weight files. */
  bytes: number
  bytesSource: number
  bitsPerWeight: number
  fileBitsPerWeight: number
  seconds: number
  /** Largest resident memory of the process so far. */
  peakMemoryBytes: number
  /** The upper bound that the plan told. */
  plannedMemoryBytes?: number
  /** `--max-memory`. */
  maxMemoryBytes?: number
  layers: readonly LayerReport[]
  /** Present where stages were trained as a whole. */
  tuning?: readonly TuningReport[]
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
  /** Arguments of the command that gives this result, the program first. */
  command?: readonly string[]
  /** Parts of the run in their order. */
  timeline?: readonly TimelineEntry[]
  /** Memory over the run; of many samples the highest ones are kept. */
  memory?: readonly MemorySample[]
  /** Present where the result was opened again and compared with its source. */
  verification?: { checks: readonly Check[]; record: VerificationRecord }
  /** Present where the model was rewritten first; layers are then compared with what it was rewritten to. */
  transforms?: readonly TransformReport[]
  /** Present where a size was asked for. */
  mix?: MixReport
  /** Round to nearest on the same plan, or with a size the uniform mix of it. */
  baselines?: readonly Baseline[]
  /** Present where the result was evaluated and `sideBySide` was not off. */
  samples?: readonly GreedySample[]
  /** Present where `samples` are. */
  parting?: LogitParting
  /** Present where the result of a language model was evaluated and `speed` was not off. */
  speed?: SpeedReport
}

/** Largest resident memory of this process so far, in bytes. */
export const peakMemory = (): number => process.resourceUsage().maxRSS * 1024
