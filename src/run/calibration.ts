/** The samples that a run is calibrated with, and windows of the same text that no sample holds. */
import { defaultCalibrationText, drawSamples, readTokens } from '../calibrate/text_samples.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import { hashOfFiles } from './fingerprint.ts'

export interface Calibration {
  samples: readonly Uint32Array[]
  /** As many as were asked for beside the samples; of a short text, some of its last samples. */
  heldOut: readonly Uint32Array[]
  files: readonly string[]
  sha256: string
  /** Why there are fewer samples than asked for. */
  note?: string
}

export const calibrationFiles = ({ calibration }: ResolvedCompressOptions): readonly string[] =>
  calibration ?? [defaultCalibrationText()]

/** The samples do not depend on how many pieces are held out. */
export function readCalibration(
  source: Pick<OpenLanguageModel, 'tokenizer' | 'chatTemplates'>,
  options: ResolvedCompressOptions,
  heldOut = 0,
): Calibration {
  const { samples: count, length, seed } = options
  const files = calibrationFiles(options)
  const tokens = readTokens(files, { tokenizer: source.tokenizer(), chatTemplates: source.chatTemplates() })
  const { samples, note } = drawSamples(tokens, { samples: count, length, seed })
  const { samples: more } = drawSamples(tokens, { samples: count + heldOut, length, seed })
  return {
    samples,
    heldOut: heldOut === 0 ? [] : more.slice(-heldOut),
    files,
    sha256: hashOfFiles(files),
    ...(note ? { note } : {}),
  }
}
