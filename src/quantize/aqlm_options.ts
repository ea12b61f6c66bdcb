/** What AQLM can be told. */
import { OptionError } from '../tensor/errors.ts'

export interface AqlmOptions {
  /** Codebooks, 1 to 8: each adds `bookBits` to the code of a tile. More for more bits. @default 2 */
  books?: number
  /**
   * Bits of one code, 1 to 16; a codebook has 2^bookBits entries of 16 bits a number. Fewer for small weights, whose
   * codebooks cost as much as their codes. @default 8
   */
  bookBits?: number
  /** Columns of a tile, from 1 on; they must divide the inputs. 16 halves the bits of 8. @default 8 */
  tileColumns?: number
  /** Rows of a tile, from 1 on; they must divide the outputs, and share a scale. vLLM and transformers want 1. @default 1 */
  tileRows?: number
  /**
   * Hypotheses of the search, from 1 on. 4 to 8 find better codes below 2 bits, in proportionally more time; 1 is enough
   * above. @default 1
   */
  beam?: number
  /** Rounds of descent and search, at most; from 0 on. More where the loss still falls and time does not matter. @default 10 */
  rounds?: number
  /** Ends where a round lowers the least loss so far by less than this share; 0 to 1. 0 ends only where one gains nothing. @default 0.01 */
  tolerance?: number
  /** Steps of Adam in a round, from 0 on; most of the time is theirs. @default 100 */
  adamSteps?: number
  /** Learning rate of these steps, above 0. @default 1e-4 */
  learningRate?: number
  /** Rounds of k-means for each codebook at the start, at most; from 1 on. @default 100 */
  kMeansRounds?: number
  /** Draws the first centroids and the order of the search. @default 0 */
  seed?: number
}

export type AqlmSettings = Required<AqlmOptions>

/** @throws OptionError for what cannot be */
export function aqlmSettings(options: AqlmOptions = {}): AqlmSettings {
  const settings = withDefaults(options)
  const whole: Record<string, readonly [value: number, least: number, most: number]> = {
    books: [settings.books, 1, 8],
    'book bits': [settings.bookBits, 1, 16],
    'tile columns': [settings.tileColumns, 1, 1024],
    'tile rows': [settings.tileRows, 1, 1024],
    beam: [settings.beam, 1, 4096],
    rounds: [settings.rounds, 0, 10_000],
    'adam steps': [settings.adamSteps, 0, 100_000],
    'k-means rounds': [settings.kMeansRounds, 1, 100_000],
  }
  for (const [name, [value, least, most]] of Object.entries(whole))
    if (!(Number.isSafeInteger(value) && value >= least && value <= most))
      throw new OptionError(`${name}: a whole number from ${least} to ${most} is needed, got ${value}`)
  if (!Number.isSafeInteger(settings.seed))
    throw new OptionError(`seed: a whole number is needed, got ${settings.seed}`)
  if (!(settings.tolerance >= 0 && settings.tolerance <= 1))
    throw new OptionError(`tolerance: a number from 0 to 1 is needed, got ${settings.tolerance}`)
  if (!(settings.learningRate > 0 && Number.isFinite(settings.learningRate)))
    throw new OptionError(
      `learning rate: a number above 0 is needed, got ${settings.learningRate}; 1e-4 is usual`,
    )
  return settings
}

/** What is undefined counts as left out. */
function withDefaults({
  books = 2,
  bookBits = 8,
  tileColumns = 8,
  tileRows = 1,
  beam = 1,
  rounds = 10,
  tolerance = 0.01,
  adamSteps = 100,
  learningRate = 1e-4,
  kMeansRounds = 100,
  seed = 0,
}: AqlmOptions): AqlmSettings {
  return {
    ...{ books, bookBits, tileColumns, tileRows, beam, rounds, tolerance, adamSteps, learningRate },
    ...{ kMeansRounds, seed },
  }
}
