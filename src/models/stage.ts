/**
 * Stages: the parts of a model that are loaded, compressed and stored at once. A stage runs in segments; before a
 * segment its state holds the input of the segment's weights as `x`, after the last one the output as `hidden`.
 */
import type { Linear } from '../nn/linear.ts'
import type { Sites } from '../nn/sites.ts'
import type { Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'

/** Named tensors between two segments. */
export type StageState = Readonly<Record<string, Tensor>>

/** Keys and values of earlier tokens. */
export interface KeyValueCache {
  /** Tokens held so far. */
  readonly length: number
  /** Adds [batch, kvHeads, tokens, headSize] of one block and returns all of it. */
  append(block: number, keys: Tensor, values: Tensor): { keys: Tensor; values: Tensor }
}

/** Side inputs of every stage. */
export interface StageContext {
  /** Cosines and sines of the positions, each [tokens, headSize / 2]. */
  rotary: { cos: Tensor; sin: Tensor }
  /** Added to the scores, [batch, heads, queries, keys] or what stretches to it. */
  bias?: Tensor
  cache?: KeyValueCache
  at?: Sites
}

export interface Segment {
  /** Weights that all take `x` of the state as their input. */
  readonly linears: readonly Linear[]
  run(state: StageState, context: StageContext): StageState
}

/** A loaded stage. */
export interface Stage extends ResourceHolder {
  readonly segments: readonly Segment[]
  enter(hidden: Tensor, context: StageContext): StageState
}

/** A stage before it is loaded. */
export interface StagePlan {
  /** `block.3` */
  readonly name: string
  /** Names of the compressible weights, as in the file, in the order of the segments. */
  readonly weights: readonly string[]
  /** Reads the weights; the caller's scope owns them. */
  load(): Stage
}

/** The whole stage: hidden in, hidden out. */
export function runStage(stage: Stage, hidden: Tensor, context: StageContext): Tensor {
  let state = stage.enter(hidden, context)
  for (const segment of stage.segments) state = segment.run(state, context)
  return state.hidden!
}
