/** A target: plans what it stores, turns weights into the bytes of its file, and puts the file together. */
import type { WeightSource } from '../../nn/weight_source.ts'
import type { Tensor } from '../../tensor/index.ts'
import type { TensorPlan } from './tensor_plan.ts'

/** A tensor of the file: a weight takes one or several. */
export interface StoredTensor {
  /** Its name in the file. */
  readonly name: string
  readonly bytes: number
}

export interface EncodedTensor {
  readonly name: string
  readonly bytes: Uint8Array
}

/** Receives the tensors in any order; nothing stands under its final name before `finish`. */
export interface ModelWriter {
  /** The next bytes of a tensor; the last part completes it. */
  append(name: string, bytes: Uint8Array): void
  /** Completes the files. */
  finish(): void
  /** Leaves nothing behind. */
  abort(): void
}

export interface TargetPlan {
  /** The format of the files. */
  readonly target:
    | 'gguf'
    | 'gptq'
    | 'awq'
    | 'compressed-tensors'
    | 'mlx'
    | 'onnx'
    | 'transformers.js'
    | 'aqlm'
    | 'spqr'
    | 'huggingface'
    | 'pare'
  readonly tensors: readonly TensorPlan[]
  /** Size of the weight files, to the byte. */
  readonly fileBytes: number
  /** Each stored tensor takes a multiple of so many bytes. */
  readonly alignment: number
  /** Remarks for the reader of the plan. */
  readonly notes: readonly string[]
  /** What a weight takes in the file, in the order in which it is encoded. */
  stored(plan: TensorPlan): readonly StoredTensor[]
  /** Some rows of a coded weight may be encoded at a time, one part after another. @default false */
  byRows?(plan: TensorPlan): boolean
  /** A compressed matrix. */
  encodeSource(plan: TensorPlan, source: WeightSource): EncodedTensor[]
  /** A weight stored as numbers, f32. */
  encodeNumbers(plan: TensorPlan, values: Tensor): EncodedTensor[]
  /** A kept weight, as the source has it. */
  encodeKept(plan: TensorPlan, bytes: Uint8Array): EncodedTensor[]
  /** Fails where the files beside the weights cannot be made, before any work is done. */
  check(): void
  /** Starts the files in an existing folder. */
  create(folder: string): ModelWriter
}
