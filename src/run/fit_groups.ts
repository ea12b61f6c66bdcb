/** The group size where nobody asked for one: the first of those that a program computes with that divides all rows. */
import type { OpenCompressible } from '../models/open_model.ts'
import { matricesOf } from '../models/write/target.ts'
import { type AffineGrid, gridName } from '../nn/grid.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import { chosenTarget } from './targets.ts'
import { tensorRules } from './tensor_rules.ts'

/** The same options with groups that fit the model; those that were asked for stay, also where they do not fit. */
export function fitGroups(
  source: Pick<OpenCompressible, 'model' | 'weights'>,
  options: ResolvedCompressOptions,
): ResolvedCompressOptions {
  if (!options.steps.some(({ openGroups }) => openGroups)) return options
  const { groupSizes } = chosenTarget(options.target, options.format).layout.levels!
  const widths = openWidths(source, options)
  const fitting = groupSizes.find((size) => size === 'row' || widths.every((columns) => columns % size === 0))
  // Where none fits, the plan says which would.
  if (fitting === undefined || fitting === groupSizes[0]) return options
  const [first, ...others] = options.steps.map((step) =>
    step.openGroups && step.grid ? { ...step, grid: { ...step.grid, groupSize: fitting } } : step,
  )
  return { ...options, steps: [first!, ...others] }
}

/** Rows of the linear weights whose groups no override names. */
function openWidths(
  source: Pick<OpenCompressible, 'model' | 'weights'>,
  options: ResolvedCompressOptions,
): number[] {
  const { choices } = tensorRules(source, options)
  const open = new Set(options.steps.filter((step) => step.openGroups).map(({ grid }) => grid!.groupSize))
  return [...matricesOf(source)]
    .filter((name) => {
      const { keep, grid } = choices.get(name) ?? {}
      return !keep && grid && open.has(grid.groupSize)
    })
    .map((name) => source.weights.infos.get(name)!.shape[1]!)
}

/** What was chosen for whoever did not say. */
export function chosenNotes({ steps, target, format }: ResolvedCompressOptions): string[] {
  const { levels } = chosenTarget(target, format).layout
  const grids = new Map<string, AffineGrid>()
  for (const { openGroups, grid } of steps) if (openGroups && grid) grids.set(gridName(grid), grid)
  return levels === undefined
    ? []
    : [...grids.keys()].map(
        (name) =>
          `${name}: chosen for ${levels.why}, of groups of ${levels.groupSizes.map((size) => (size === 'row' ? 'a row' : size)).join(', ')} the first that divides all rows; --group-size chooses another`,
      )
}
