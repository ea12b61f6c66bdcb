/**
 * Levels of few bits of one weight, each also over weights that a pruner left (Frantar and Alistarh 2022, arXiv:2208.11580,
 * section 6: 8 and 4 bits, with and without 2:4).
 */
import { type GroupPattern, type Level, type LevelsMethod, relativeOutputError } from '../calibrate/levels.ts'
import type { LayerMethod } from '../calibrate/method.ts'
import { type AffineGrid, type AffineValues, affineGrid, checkGrid } from '../nn/grid.ts'
import { packMarks } from '../nn/values/bitmask.ts'
import { unmasked } from '../nn/values/masked_grid.ts'
import type { StoredSource } from '../nn/values/values.ts'
import { OptionError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import { type ObqOptions, obq } from './obq.ts'

/** What runs before the rounding. */
export interface LevelPruner {
  /** As it stands in the name of the level: `2:4`. */
  readonly name: string
  readonly method: LayerMethod
  /** Where its zeros follow one. */
  readonly pattern?: GroupPattern
}

export interface ObqLevelsOptions extends ObqOptions {
  /** @default 8 and 4 bits, one scale a row */
  grids?: readonly AffineGrid[]
  /** Each gives every grid one more level. @default none */
  pruners?: readonly LevelPruner[]
}

/**
 * @throws OptionError here for impossible options
 * @example
 * const pattern = { n: 2, m: 4 }
 * obqLevels({ pruners: [{ name: '2:4', method: exactObs({ pattern: { kind: 'n:m', ...pattern } }), pattern }] })
 */
export function obqLevels(options: ObqLevelsOptions = {}): LevelsMethod {
  const rowGrid = (bits: AffineGrid['bits']) => affineGrid({ bits, groupSize: 'row' })
  const { grids = [rowGrid(8), rowGrid(4)], pruners = [], ...rest } = options
  for (const grid of grids) checkGrid(grid)
  const names = grids.map(levelName)
  if (grids.length === 0 || new Set(names).size < names.length)
    throw new OptionError(`obq: levels need grids that differ in bits or groups, got [${names.join(', ')}]`)
  const rounding = obq(rest)
  return {
    name: 'obq',
    needs: ['gram'],
    *levels(task) {
      const gram = task.statistics.gram
      for (const pruner of [undefined, ...pruners]) {
        const pruned = pruner && scope(() => pruner.method.compress(task))
        // Only the weight and its mask go on; what it is stored as does not.
        const current = pruned ? (pruned.decoded ?? pruned.source.dense()) : task.current
        const mask = pruned ? pruned.mask : task.mask
        for (const grid of grids) {
          const level: Level = scope(() => {
            const edit = rounding.compress({ ...task, current, mask, grid })
            const stored = (edit.source as StoredSource).values
            const values = stored.kind === 'masked_grid' ? unmasked(stored) : (stored as AffineValues)
            return {
              level: levelName(grid) + (pruner ? `, ${pruner.name}` : ''),
              values: {
                kind: 'codes',
                values,
                ...(mask && { mask: packMarks(mask, task.current.shape as [number, number]) }),
              },
              error: relativeOutputError(task.dense, edit.decoded!, gram!),
              ...(pruner?.pattern && { pattern: pruner.pattern }),
            }
          })
          yield level
        }
      }
    },
  }
}

/** What a profile calls a grid. */
export const levelName = ({ bits, groupSize }: AffineGrid): string =>
  groupSize === 'row' ? `${bits} bits` : `${bits} bits, groups of ${groupSize}`
