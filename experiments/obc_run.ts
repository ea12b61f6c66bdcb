/** Jobs and runs of the OBC experiment. */
import type { Job, Stamp } from './experiment.ts'
import type { EncoderMatrices, EncoderScores, EncoderSetup } from './obc_encoder.ts'
import type { ImageMatrices, ImageScores, ImageSetup } from './obc_images.ts'
import type { LanguageScores, LanguageSetup, languageMatrices } from './obc_language.ts'
import type { LevelName, MethodName } from './obc_methods.ts'

interface AnyJob extends Job {
  method: MethodName
  level: LevelName
}

export interface EncoderJob extends Omit<AnyJob, 'method'> {
  network: 'MiniLM'
  matrices: EncoderMatrices
  /** `stitched`: of each layer one level of a database, with the bytes of all layers at the level of the job. */
  method: MethodName | 'stitched'
  setup: EncoderSetup
}

export interface ImageJob extends AnyJob {
  network: 'EfficientNet-Lite0'
  matrices: ImageMatrices
  setup: ImageSetup
}

export interface LanguageJob extends AnyJob {
  network: 'SmolLM2'
  matrices: typeof languageMatrices
  setup: LanguageSetup
}

export type ObcJob = EncoderJob | ImageJob | LanguageJob

export interface Measured {
  /** Of a compressed weight: masks, scales and zeros included. */
  storedBits: number
  /** Weights that were compressed. */
  size: number
  /** Of all cores together, to compress; a stitched network takes the database too. */
  processorSeconds: number
  /** Layers by the level that they got, where it is stitched. */
  profile?: Readonly<Record<string, number>>
}

export type ObcRun =
  | (EncoderJob & Stamp & Measured & EncoderScores)
  | (ImageJob & Stamp & Measured & ImageScores)
  | (LanguageJob & Stamp & Measured & LanguageScores)
