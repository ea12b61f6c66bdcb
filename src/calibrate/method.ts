/** The interface of methods that compress one weight at a time. */
import type { Grid } from '../nn/grid.ts'
import type { StoredValues } from '../nn/values/values.ts'
import type { WeightSource } from '../nn/weight_source.ts'
import type { Tensor } from '../tensor/index.ts'
import type { Statistics } from './statistics.ts'

/** What a method wants to know about the inputs of a weight. */
export type StatisticName = 'gram' | 'squares'

/** One weight and all that is known about it. */
export interface LayerTask {
  /** As in the model's file. */
  readonly name: string
  /** The weight of the source model, f32 [out, in]. */
  readonly dense: Tensor
  /** The weight after earlier steps, of which pruned ones are 0; the same where there are none. */
  readonly current: Tensor
  /** 1 where an earlier step kept a weight, 0 where it pruned it, [out * in]; absent where nothing was pruned. */
  readonly mask?: Uint8Array | undefined
  /** How that is stored which earlier steps made; absent where there are none. */
  readonly before?: StoredValues | undefined
  /** What the method's `needs` asked for. */
  readonly statistics: Statistics
  /** How codes are rounded, where the step has a grid. */
  readonly grid?: Grid | undefined
  /** What the method returned as `carried` for the weight before. */
  readonly carried?: unknown
}

/** One weight that a plan gives a grid. */
export interface WeightTask extends LayerTask {
  readonly grid: Grid
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
  /** What lives after this step, [out * in], where something was pruned. */
  readonly mask?: Uint8Array
  readonly bias?: Tensor
  readonly carried?: unknown
  readonly diagnostics: Diagnostics
}

/** A method of the weight shape: a factory's record. */
export interface LayerMethod {
  readonly name: string
  readonly needs: readonly StatisticName[]
  compress(task: LayerTask): LayerEdit
}

/** A method that rounds to the grid that it is given. */
export interface WeightMethod extends LayerMethod {
  compress(task: WeightTask): LayerEdit
}
