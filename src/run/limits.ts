/** What a run must not go past. */
import { OptionError } from '../tensor/errors.ts'

export interface Limits {
  /** Bytes of memory. */
  maxMemory?: number
  /** KL to the source, nats a token. */
  maxKl?: number
  /** Bytes of the result's weight files. */
  targetSize?: number
  /** Bits a weight over the whole file. */
  targetBpw?: number
}

/** The limits that runs keep to. */
const enforced: ReadonlySet<string> = new Set<keyof Limits>([])

/** Names of the limits that are asked for and that runs do not keep to. */
export const openLimits = (limits: Limits): string[] =>
  Object.keys(limits).filter((name) => !enforced.has(name))

/** @throws OptionError for a limit that a run would not keep to. */
export function checkLimits(limits: Limits): void {
  const [name] = openLimits(limits)
  if (name !== undefined)
    throw new OptionError(`limits.${name}: this version of Pare does not keep to it; leave it out`, {
      code: 'PARE_E_LIMIT',
      facts: { limit: name },
    })
}
