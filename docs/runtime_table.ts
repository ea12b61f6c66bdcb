/** What each target opens with and which methods it can hold, from the tables that the command line reads. */
import type { StepMethod } from '#src/run/step_method.ts'
import { stepMethod, stepMethodNames } from '#src/run/step_methods.ts'
import { formatFacts } from '#src/run/target_formats.ts'
import { type Layout, programsText, type Target, targetNames, targetOf } from '#src/run/targets.ts'

/** A row for each target. */
export function runtimeTable(): string {
  const rows = targetNames.map((name) => {
    const target = targetOf(name)
    return `| \`${name}\` | ${readersOf(target)} | ${target.layouts.map(levelsOf).join('; ')} | ${methodsFor(target)} |`
  })
  return ['| target | who opens it | what it stores | methods |', '| --- | --- | --- | --- |', ...rows].join(
    '\n',
  )
}

const readersOf = ({ readers, layouts: [first] }: Target): string => programsText(first.needs) ?? readers

function levelsOf({ format, levels }: Layout): string {
  if (formatFacts(format).weights === 'blocks') return 'block types and mixes, such as `Q4_K_M`'
  if (!levels) return `${format}: 2, 3, 4 or 8 bits`
  const bits = levels.bits.length === 1 ? `${levels.bits[0]}` : listed(levels.bits)
  return `${format}: ${bits} bits, groups of ${listed(levels.groupSizes.map((size) => (size === 'row' ? 'a row' : size)))}`
}

const listed = (items: readonly (number | string)[]): string =>
  `${items.slice(0, -1).join(', ')} or ${items.at(-1)}`

/** Who rounds to a grid goes anywhere; zeros get a code each where there are no masks, which block types have no place for. */
function methodsFor({ layouts: [{ format }] }: Target): string {
  const { trees, weights } = formatFacts(format)
  if (trees) return 'all'
  const named = (holds: (method: StepMethod) => boolean) =>
    stepMethodNames
      .filter((name) => holds(stepMethod(name)))
      .map((name) => `\`${name}\``)
      .join(', ')
  const quantizers = named((method) => method.kind === 'quantizer' && (method.blocks || weights === 'levels'))
  const before = named(({ kind }) => kind === 'transform' || (kind === 'pruner' && weights === 'levels'))
  return `${quantizers}; before one of them ${before}`
}
