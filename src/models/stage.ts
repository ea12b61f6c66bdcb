/**
 * Stages: the parts of a model that are loaded, compressed and stored at once. A stage runs in segments, each with
 * the weights that share one input, so that a walk can stop before a group of weights and look at what it gets.
 */
import type { Linear } from '../nn/linear.ts'
import type { Sites } from '../nn/sites.ts'
import { currentRecorder, type State, type Tensor } from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'

/** Named tensors between two segments. */
export type StageState = Readonly<Record<string, Tensor>>

/** Keys and values of earlier tokens. */
export interface KeyValueCache {
  /** Tokens held so far. */
  readonly length: number
  /** Adds [batch, kvHeads, tokens, headSize] of one block and returns all of it. */
  append(block: number, keys: Tensor, values: Tensor): { keys: Tensor; values: Tensor }
  /**
   * Makes room for so many tokens of a block, which the caller puts behind the `past` ones, [room, 1, kvHeads, size] each,
   * before anything else reads them. @default only `append`
   */
  extend?(
    block: number,
    tokens: number,
    heads: { kvHeads: number; size: number },
  ): { past: number; keys: State; values: State }
}

/** Rows of one of several sequences that run through a stage together. */
export interface SequenceRows {
  tokens: number
  /** Added to its scores, as in `StageContext`. */
  bias?: Tensor
  /** @default none: the sequence begins here */
  cache?: KeyValueCache
}

/** Side inputs of every stage. */
export interface StageContext {
  /** Cosines and sines of the positions, each [tokens, headSize / 2]; for families with rotary positions. */
  rotary?: { cos: Tensor; sin: Tensor }
  /** Added to the scores, [batch, heads, queries, keys] or what stretches to it. */
  bias?: Tensor
  cache?: KeyValueCache
  /**
   * Sequences whose tokens follow each other as the rows of one matrix. Each attends to itself alone, with a bias and a
   * cache of its own in place of those of the context. @default one sequence, or a batch of equal length
   */
  sequences?: readonly SequenceRows[]
  at?: Sites
}

export interface Segment {
  /** Weights that all take the tensor of `input`. */
  readonly linears: readonly Linear[]
  /** Their input [.., tokens, in], cheap to make from the state. */
  input(state: StageState, context: StageContext): Tensor
  /** The state before the next segment; tensors that stay are handed on as they are. */
  run(state: StageState, x: Tensor, context: StageContext): StageState
}

/** A loaded stage. Its state is `{ hidden }` before the first segment and after the last one. */
export interface Stage extends ResourceHolder {
  readonly segments: readonly Segment[]
  /** All segments in one call with the same bits, where there is one for these inputs and nobody looks inside. */
  whole?(hidden: Tensor, context: StageContext): Tensor | undefined
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

/** The whole stage: hidden in, hidden out, [.., tokens, hidden]. */
export function runStage(stage: Stage, hidden: Tensor, context: StageContext): Tensor {
  const whole = context.at || currentRecorder() ? undefined : stage.whole?.(hidden, context)
  if (whole) return whole
  let state: StageState = { hidden }
  for (const segment of stage.segments) state = segment.run(state, segment.input(state, context), context)
  return state.hidden!
}
