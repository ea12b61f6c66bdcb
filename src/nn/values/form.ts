/** What stored values are apart from their numbers: decides which formats can hold them as they are. */
import { type GridForm, groupWidth } from '../grid.ts'
import { type StoredValues, shapeOfStored } from './values.ts'

/** Codes on evenly spaced levels. */
export interface StepForm extends Omit<GridForm, 'symmetric'> {
  kind: 'grid' | 'offset'
  /** Every zero is the middle code; only of a grid. */
  symmetric: boolean
  /** Groups are not neighbours, so that a reader needs to be told them. */
  sorted: boolean
}

export type StoredForm = StepForm | { kind: Exclude<StoredValues['kind'], 'grid' | 'offset'>; type?: string }

/** The form of values; zeros are looked at only where the grid does not say that they are in the middle. */
export function formOf(values: StoredValues): StoredForm {
  switch (values.kind) {
    case 'grid': {
      const { bits, groupSize, symmetric, scaleType } = values.grid
      return { kind: 'grid', bits, groupSize, symmetric, scaleType, sorted: isSorted(values) }
    }
    case 'offset':
      return { kind: 'offset', ...values.form, symmetric: false, sorted: isSorted(values) }
    case 'blocks':
      return { kind: 'blocks', type: values.type }
    default:
      return { kind: values.kind }
  }
}

function isSorted(values: StoredValues & { kind: 'grid' | 'offset' }): boolean {
  const [, columns] = shapeOfStored(values)
  const width = groupWidth(values.kind === 'grid' ? values.grid : values.form, columns)
  return values.groupOf.some((group, column) => group !== Math.floor(column / width))
}

/** `4 bits, groups of 32, symmetric`, `codebook`, `Q4_K`. */
export function formName(form: StoredForm): string {
  if (form.kind === 'blocks') return form.type!
  if (form.kind !== 'grid' && form.kind !== 'offset') return form.kind.replace('_', ' ')
  const { bits, groupSize, symmetric, sorted, kind } = form
  return [
    `${bits} bits`,
    groupSize === 'row' ? 'one group a row' : `groups of ${groupSize}`,
    ...(symmetric ? ['symmetric'] : []),
    ...(kind === 'offset' ? ['with offsets'] : []),
    ...(sorted ? ['sorted'] : []),
  ].join(', ')
}
