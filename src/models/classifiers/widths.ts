/** Numbers that networks are made of. */
import { OptionError } from '../../tensor/errors.ts'

/** @throws OptionError naming the first that is no whole number from 1 on */
export function checkWidths(network: string, widths: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(widths))
    if (!(Number.isInteger(value) && value >= 1 && value < 2 ** 31))
      throw new OptionError(
        `${network}: ${name} needs a whole number from 1 to 2^31 - 1, got ${value}; choose one of these`,
        { facts: { field: name } },
      )
}
