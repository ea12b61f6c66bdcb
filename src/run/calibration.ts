/** The samples that a run is calibrated with, and windows of the same text that no sample holds. */
import { drawFramedSamples } from '../calibrate/encoder_walk.ts'
import { defaultCalibrationText, drawSamples, readTokens } from '../calibrate/text_samples.ts'
import type { OpenCompressible } from '../models/open_model.ts'
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
  source: Pick<OpenCompressible, 'family' | 'tokenizer' | 'chatTemplates'>,
  options: ResolvedCompressOptions,
  heldOut = 0,
): Calibration {
  const { samples: count, length, seed } = options
  const files = calibrationFiles(options)
  const tokenizer = source.tokenizer()
  const tokens = readTokens(files, { tokenizer, chatTemplates: source.chatTemplates() })
  const draw = (samples: number) =>
    source.family === 'bert'
      ? drawFramedSamples(tokens, tokenizer, { samples, length, seed })
      : drawSamples(tokens, { samples, length, seed })
  const { samples, note } = draw(count)
  const { samples: more } = draw(count + heldOut)
  return {
    samples,
    heldOut: heldOut === 0 ? [] : more.slice(-heldOut),
    files,
    sha256: hashOfFiles(files),
    ...(note ? { note } : {}),
  }
}
