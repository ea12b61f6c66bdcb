/** Which weights a step can take, known from their shapes before any of them is read. */
import { isTurnable, largestOrthogonal, mostTurned } from '../nn/values/rotation_sizes.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { flagName } from './option_fields.ts'
import { groupsOfPattern } from './own_fields.ts'
import type { WeightMethodName } from './step_methods.ts'
import type { ResolvedStep } from './weight_step.ts'

/** What an option asks of a weight: so many of its rows or columns are taken together. */
interface Multiple {
  axis: 'rows' | 'columns'
  of: number
  option: keyof ResolvedStep['own']
}

type Own = ResolvedStep['own']

const pattern = ({ pattern: text = '' }: Own): Multiple[] => {
  const groups = groupsOfPattern(text)
  return groups ? [{ axis: 'columns', of: groups.m, option: 'pattern' }] : []
}

const multiples: Partial<Record<WeightMethodName, (own: Own) => Multiple[]>> = {
  magnitude: pattern,
  wanda: pattern,
  sparsegpt: pattern,
  obs: pattern,
  spqr: ({ groupSize = 16, tileRows = 16, secondOrder = true }) => [
    ...(groupSize === 'row' ? [] : [{ axis: 'columns', of: groupSize, option: 'groupSize' } as const]),
    ...(secondOrder ? [{ axis: 'rows', of: tileRows, option: 'tileRows' } as const] : []),
  ],
  aqlm: ({ tileColumns = 8, tileRows = 1 }) => [
    { axis: 'columns', of: tileColumns, option: 'tileColumns' },
    { axis: 'rows', of: tileRows, option: 'tileRows' },
  ],
}

/**
 * @param name of the weight, [rows, columns]
 * @throws OptionError where a step cannot take it
 */
export function checkFits(
  name: string,
  [rows, columns]: readonly [number, number],
  { method, own, at }: ResolvedStep,
): void {
  const extents = { rows, columns }
  const wrong = multiples[method]?.(own).find(({ axis, of }) => extents[axis] % of !== 0)
  if (wrong) {
    const { axis, of, option } = wrong
    throw new OptionError(
      `${at}: ${method} takes ${of} ${axis} together, as ${flagName(option)} says, and ${printable(name)} has ${extents[axis]}; change it, or leave the weight out with the "only" of the step`,
      { code: 'PARE_E_WEIGHT_SHAPE', facts: { tensor: name, [axis]: extents[axis], multiple: of } },
    )
  }
  if (method === 'quip' && !isTurnable([rows, columns]))
    throw new OptionError(
      `${at}: quip turns at most ${largestOrthogonal} rows and columns and ${mostTurned} weights, and ${printable(name)} is [${rows}, ${columns}]; leave it out with the "only" of the step`,
      { code: 'PARE_E_WEIGHT_SHAPE', facts: { tensor: name, rows, columns } },
    )
}
