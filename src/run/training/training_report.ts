/** What a finished training tells, which also lies in its folder as training.json. */
import { join } from 'node:path'
import { isRecord } from '../../formats/json.ts'
import { readJsonFile } from '../../formats/tokenizer/tokenizer.ts'
import { FormatError, printable } from '../../tensor/errors.ts'

export interface TrainingReport {
  /** Version of Pare. */
  readonly version: string
  /** The folder, as it was named. */
  readonly output: string
  readonly family: string
  /** Weights that were trained. */
  readonly parameters: number
  readonly seed: number
  readonly steps: number
  /** Passes over the data that are finished. */
  readonly epochs: number
  /** Tokens or images that were learned from, repetitions counted. */
  readonly units: number
  readonly unit: 'tokens' | 'images'
  /** Of the last step that learned, in nats; null where none did. */
  readonly loss: number | null
  /** Steps that were left out because a loss or gradient was not finite. */
  readonly skipped: number
  /**
   * On what is held out: `loss` in nats a token or image; `perplexity` and `bitsPerByte` of language models, `accuracy`
   * of classifiers; and how much was looked at.
   */
  readonly evaluation: Readonly<Record<string, number>>
  /** Of work, over all sittings. */
  readonly seconds: number
  /** Resident memory at most, in the last sitting. */
  readonly peakMemoryBytes: number
  /** The step that the last sitting went on from; null where it was the first. */
  readonly resumedAt: number | null
  /** Files of the folder, training.json last. */
  readonly files: readonly string[]
  /** What decides the weights: recipe with defaults, hash of the data, version, instruction set. */
  readonly run: Readonly<Record<string, unknown>>
}

export const reportName = 'training.json'

/** The report of a folder, where it holds a finished training. @throws FormatError for a file that is damaged */
export function readTrainingReport(folder: string): TrainingReport | undefined {
  const path = join(folder, reportName)
  const json = readJsonFile(path)
  if (json === undefined) return undefined
  if (isRecord(json.run) && isRecord(json.evaluation) && Array.isArray(json.files))
    return json as unknown as TrainingReport
  throw new FormatError(
    `${printable(path)}: is no report of a training; name another output, or give --restart`,
    {
      code: 'PARE_E_TRAINING_REPORT',
      facts: { path },
    },
  )
}
