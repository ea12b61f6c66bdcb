/** What a run must not go past. */
import { OptionError, printable, QualityError } from '../tensor/errors.ts'

export interface Limits {
  /** Bytes of resident memory. */
  maxMemory?: number
  /** KL to the source, nats a token. */
  maxKl?: number
  /** Bytes of the result's weight files. */
  targetSize?: number
  /** Bits a weight over the whole file. */
  targetBpw?: number
}

/** @throws OptionError for a limit that a run could not look at. */
export function checkLimits(limits: Limits, evaluate: boolean): void {
  if (limits.maxKl !== undefined && !evaluate)
    throw new OptionError(
      '--max-kl: needs the result to be compared with its source; leave --no-evaluate out',
      {
        code: 'PARE_E_LIMIT',
        facts: { limit: 'maxKl' },
      },
    )
}

/**
 * The gate behind a finished run.
 *
 * @throws QualityError (exit 4) where the result is farther from its source than was allowed.
 */
export function checkQuality({ maxKl }: Limits, { kl, output }: { kl?: number; output: string }): void {
  if (maxKl === undefined || kl === undefined || kl <= maxKl) return
  throw new QualityError(
    `${printable(output)}: the KL to the source must be at most ${maxKl} nats a token, found ${kl.toFixed(4)}; the result is there, take more bits or a higher --max-kl`,
    { code: 'PARE_E_MAX_KL', facts: { output, kl, maxKl } },
  )
}
