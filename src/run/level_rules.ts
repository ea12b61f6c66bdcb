/** What a program asks of the levels of weights, said before anything is read. */
import type { AffineGrid } from '../nn/grid.ts'
import { OptionError } from '../tensor/errors.ts'
import { type ChosenTarget, targetNames, targetOf } from './targets.ts'

type Field = 'bits' | 'groupSize' | 'symmetric'

/**
 * @param label how a field is called where it was asked for: `--bits`
 * @throws OptionError (`PARE_E_RUNTIME`) for levels that the program does not compute with.
 */
export function checkLevels(
  { bits, groupSize, symmetric }: Pick<AffineGrid, Field>,
  { name, layout: { format, levels } }: ChosenTarget,
  label: (field: Field) => string,
): void {
  if (levels === undefined) return
  const fails = (field: Field, needs: string, got: string, wayOut: string) =>
    new OptionError(`${label(field)}: ${levels.why} needs ${needs} in ${format}, got ${got}; ${wayOut}`, {
      code: 'PARE_E_RUNTIME',
      facts: { target: name, format, field },
    })
  if (!levels.bits.includes(bits))
    throw fails('bits', `${either(levels.bits)} bits`, String(bits), `choose one of them${others(bits)}`)
  if (!levels.groupSizes.includes(groupSize))
    throw fails(
      'groupSize',
      `groups of ${either(levels.groupSizes)}`,
      String(groupSize),
      'choose one of them, or --target pare, which takes any',
    )
  if (!symmetric && !levels.zeros.includes(bits))
    throw fails(
      'symmetric',
      levels.zeros.length === 0 ? 'symmetric levels' : `symmetric levels, or ${either(levels.zeros)} bits,`,
      `${bits} bits with zeros`,
      'leave --no-symmetric out, or choose another --format',
    )
}

const either = (values: readonly (number | string)[]): string =>
  values.length === 1 ? String(values[0]) : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`

/** `, or --target mlx, transformers, which take 3 bits` */
function others(bits: number): string {
  const names = targetNames.filter((name) => targetOf(name).layouts[0]?.levels?.bits.includes(bits))
  return names.length === 0 ? '' : `, or --target ${either(names)}`
}
