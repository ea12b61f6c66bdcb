/** What all pruning methods are told. */
import type { Shape } from '../tensor/index.ts'
import { type Distribution, spread } from './distribution.ts'
import { checkSparsity, type Ties } from './mask.ts'
import { type MaskSchedule, maskSchedule, type SparsityInTime } from './mask_schedule.ts'
import { checkPattern, type Pattern, unstructured, usualTies } from './pattern.ts'

export interface PruningOptions {
  /** Share of zeros in the pruned parameters in the end, in [0, 1). */
  sparsity: number
  /** Which parameters, and how the zeros are spread over them. @default uniform over all with two axes or more */
  distribution?: Distribution
  /** @default none */
  schedule?: MaskSchedule
  /** @default unstructured */
  pattern?: Pattern
  /** @default latest in n:m, lowest elsewhere */
  ties?: Ties
  /** Keeps masks at one bit a weight instead of a byte. @default false */
  packed?: boolean
  /** Of random masks. @default 8 */
  seed?: number
}

export interface CheckedOptions {
  readonly time: SparsityInTime
  readonly pattern: Pattern
  readonly ties: Ties
  readonly packed: boolean
  readonly seed: number
  readonly targets: (shapes: ReadonlyMap<string, Shape>) => Map<string, number>
}

/** Defaults put in, and ranges checked. @throws OptionError, which begins with `at` where it can */
export function checkedOptions(
  at: string,
  {
    sparsity,
    distribution = { kind: 'uniform' },
    schedule = { kind: 'none' },
    pattern = unstructured,
    ties = usualTies(pattern),
    packed = false,
    seed = 8,
  }: PruningOptions,
): CheckedOptions {
  checkSparsity(at, sparsity)
  checkPattern(at, pattern)
  return {
    time: maskSchedule(schedule),
    pattern,
    ties,
    packed,
    seed,
    targets: (shapes) => spread(sparsity, shapes, distribution),
  }
}
