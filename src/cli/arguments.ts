/** Readers of option values; commander calls them with the text that was typed. */
import { InvalidArgumentError } from 'commander'

/** A whole number from `least` on. */
export const whole =
  (least: number) =>
  (text: string): number => {
    const value = Number(text)
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value
    throw new InvalidArgumentError(`A whole number from ${least} on is needed.`)
  }

/** A number above 0. */
export function positive(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value
  throw new InvalidArgumentError('A number above 0 is needed.')
}

/** Columns per group, or one group a row. */
export function groupSize(text: string): number | 'row' {
  return text === 'row' || text === '-1' ? 'row' : whole(1)(text)
}
