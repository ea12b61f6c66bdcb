/** The interface of methods that compress one weight at a time. */
import type { Grid } from '../nn/grid.ts'
import type { WeightSource } from '../nn/weight_source.ts'
import type { Tensor } from '../tensor/index.ts'
import type { Statistics } from './statistics.ts'

/** What a method wants to know about the inputs of a weight. */
export type StatisticName = 'gram'

/** One weight and all that is known about it. */
export interface WeightTask {
  /** As in the model's file. */
  readonly name: string
  /** The weight of the source model, f32 [out, in]. */
  readonly dense: Tensor
  /** The weight after earlier steps; the same where there are none. */
  readonly current: Tensor
  /** What the method's `needs` asked for. */
  readonly statistics: Statistics
  /** How codes are rounded, where the plan gives this weight a grid. */
  readonly grid: Grid
  /** What the method returned as `carried` for the weight before. */
  readonly carried?: unknown
}

/** Facts for the report: numbers and short notes. */
export interface Diagnostics {
  /** Damping that was needed, as a share of the mean diagonal. */
  damping?: number
  notes: readonly string[]
}

/** What becomes of a layer. */
export interface LayerEdit {
  readonly source: WeightSource
  /** The values of `source` as a tensor, where the method has them at hand. */
  readonly decoded?: Tensor
  readonly bias?: Tensor
  readonly carried?: unknown
  readonly diagnostics: Diagnostics
}

/** A method of the weight shape: a factory's record. */
export interface WeightMethod {
  readonly name: string
  readonly needs: readonly StatisticName[]
  compress(task: WeightTask): LayerEdit
}
