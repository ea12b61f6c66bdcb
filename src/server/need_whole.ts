/** Whole numbers among the options of a server. */
import { OptionError } from '../tensor/errors.ts'

/** @throws OptionError (PARE_E_SERVER) where `value` is none from `least` to `most`. */
export function needWhole(option: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  throw new OptionError(`${option}: needs a whole number from ${least} to ${most}, got ${value}`, {
    code: 'PARE_E_SERVER',
    facts: { option },
  })
}
