/** One form for several weights: all of a checkpoint that has one, or those that a program computes as one matrix. */
import { type Candidate, candidatesOf, isMiddle, type LevelForm, type LevelTarget } from './candidates.ts'
import type { LevelFacts } from './level_facts.ts'

export interface FormOptions {
  /** Only forms that keep every value. @default false */
  exact?: boolean
}

/**
 * The smallest form of the target that keeps the codes of a weight; nothing where it has none.
 *
 * @param own how the weight is stored already: taken where it is among the forms
 */
export function formFor(
  facts: LevelFacts,
  target: LevelTarget,
  { exact = false }: FormOptions = {},
  own?: LevelForm,
): Candidate | undefined {
  const found = candidatesOf(facts, target).filter((candidate) => candidate.exact || !exact)
  return found.find(({ form }) => own && sameForm(form, own)) ?? found[0]
}

/**
 * Forms that differ in shape alone, of the fewest bits in which the most of the weights keep their codes; nothing for
 * those that do not.
 */
export function commonForms(
  all: readonly LevelFacts[],
  target: LevelTarget,
  options: FormOptions = {},
): (Candidate | undefined)[] {
  const tries = target.bits.map((bits) => {
    const narrowed = { ...target, bits: [bits] }
    const alone = all.map((facts) => formFor(facts, narrowed, options))
    const sizes = alone.flatMap((found) => (found ? [groupSizeOf(found.form)] : []))
    const widths = [commonSize(sizes, all)]
    // Where one has zeros elsewhere, the others store theirs too.
    const symmetric = all.every((facts, i) => !alone[i] || isMiddle(facts))
    return all.map((facts, i) => {
      const found = alone[i] && formFor(facts, { ...narrowed, widths }, options)
      if (found?.form.kind !== 'grid' || symmetric) return found
      if (target.zeroBits?.includes(bits) === false) return undefined
      return { ...found, form: { ...found.form, symmetric: false } }
    })
  })
  const kept = (found: (typeof tries)[number]) => found.filter((candidate) => candidate).length
  return tries.reduce((best, found) => (kept(found) > kept(best) ? found : best), tries[0] ?? [])
}

const groupSizeOf = (form: LevelForm): number | 'row' => (form.kind === 'blocks' ? 32 : form.groupSize)

/** Groups that all others are made of: their greatest common divisor, or rows where all have them. */
function commonSize(sizes: readonly (number | 'row')[], all: readonly LevelFacts[]): number | 'row' {
  if (sizes.every((size) => size === 'row')) return 'row'
  const columns = all.map(({ shape }) => shape[1])
  const widths = sizes.filter((size) => size !== 'row')
  return [...widths, ...(widths.length < sizes.length ? columns : [])].reduce(divisor)
}

const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b))

const sameForm = (a: LevelForm, b: LevelForm): boolean =>
  JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort())
