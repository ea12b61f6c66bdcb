/** A target: plans what it stores, then writes the model weight by weight. */
import type { WeightSource } from '../../nn/weight_source.ts'
import type { Tensor } from '../../tensor/index.ts'
import type { TensorPlan } from './tensor_plan.ts'

/** Receives the weights in any order; nothing stands under its final name before `finish`. */
export interface ModelWriter {
  /** A compressed matrix. */
  addSource(plan: TensorPlan, source: WeightSource): void
  /** A weight stored as numbers, f32. */
  addNumbers(plan: TensorPlan, values: Tensor): void
  /** The bytes of a kept weight, as the source has them. */
  addKept(plan: TensorPlan, bytes: Uint8Array): void
  /** Completes the files. */
  finish(): void
  /** Leaves nothing behind. */
  abort(): void
}

export interface TargetPlan {
  readonly target: 'gguf' | 'gptq' | 'pare'
  readonly tensors: readonly TensorPlan[]
  /** Size of the weight files, to the byte. */
  readonly fileBytes: number
  /** Remarks for the reader of the plan. */
  readonly notes: readonly string[]
  /** Starts the files in an existing folder. */
  create(folder: string): ModelWriter
}
