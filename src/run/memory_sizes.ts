/** Numbers and bytes that a stage, a batch inside of it and a matrix that is decided take. */
import type { StageTuner } from '../calibrate/stage_tuner.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { mostWeights } from './kernel_trials.ts'
import { panelBytes } from './process_memory.ts'

export const F32 = 4
export const F64 = 8

/** What of a model's config decides how many numbers pass through it. */
export interface ModelWidths {
  readonly hidden: number
  readonly headSize: number
  readonly vocabulary: number
  /** The embedding is the head too. */
  readonly tied?: boolean
  /** `kvHeads` is missing where keys and values have as many heads as queries. */
  readonly layers: readonly {
    readonly heads: number
    readonly kvHeads?: number
    readonly intermediate: number
  }[]
}

export interface Widths {
  hidden: number
  queries: number
  keys: number
  inner: number
}

export function widthsOf({ hidden, headSize, layers }: ModelWidths, index: number): Widths {
  const { heads, kvHeads = heads, intermediate } = layers[index]!
  return { hidden, queries: heads * headSize, keys: kvHeads * headSize, inner: intermediate }
}

/**
 * Numbers a token inside the widest segment: attention holds x, q, k, v, the rotated q and k and the mixed values; the
 * MLP holds x, gate, up, silu(gate) and their product. The Gram matrix packs what comes out twice.
 */
export const segmentWidth = ({ hidden, queries, keys, inner }: Widths): number =>
  Math.max(hidden + 5 * queries + 3 * keys, hidden + 6 * inner)

/** Numbers a token where nothing is freed before the end of the stage. */
export const stageWidth = ({ hidden, queries, keys, inner }: Widths): number =>
  6 * hidden + 3 * queries + 3 * keys + 4 * inner

/** Numbers a token of what a stage that is trained should put out, and of its inputs, which are kept for it. */
export const targetWidth = ({ hidden }: Widths, training: StageTuner['target'] | undefined): number =>
  training === undefined ? 0 : 2 * hidden

/**
 * A step of the training of a stage: every weight as codes and decoded, and the numbers of a batch with their gradients.
 * The gradient of the largest weight is there with eight tensors of its size.
 */
export function trainingBytes(matrices: readonly TensorPlan[], widths: Widths, batch: number): number {
  const largest = Math.max(...matrices.map(numbersOf))
  const held = (F32 + 2) * sumOf(matrices, numbersOf)
  return held + 9 * F32 * largest + 2 * F32 * batch * stageWidth(widths) + panelBytes
}

/** The weight, what it is rounded to as values and codes, and two tensors of the error. */
export const comparedBytes = (plan: TensorPlan): number =>
  (plan.grid || plan.made ? 4 * F32 + 1 : 4 * F32) * numbersOf(plan)

/**
 * What is alive while a matrix is decided, without its own dense form: the Gram matrix in f64 with two more of its size
 * while it is factored, or in f32 while errors are measured on it.
 */
export function solvedBytes(plan: TensorPlan): number {
  const inputs = plan.shape[1]! ** 2
  const numbers = numbersOf(plan)
  if (!plan.grid && !plan.made) return (F64 + F32) * inputs + 3 * F32 * numbers
  const factoring = 3 * F64 * inputs + panelBytes
  const measuring = (F64 + F32) * inputs + (5 * F32 + 2) * numbers
  // Both turned in f64; while columns are rounded, the factor twice, the weight twice and its errors.
  const turning = plan.made?.kind === 'rotated_grid' ? F64 * (4 * inputs + 4 * numbers) + panelBytes : 0
  return Math.max(factoring, measuring, turning)
}

/**
 * Arrays of JavaScript that pass while a matrix is decided: its numbers with their errors and what these push onto later
 * columns in f64, with the factor and the diagonal that is added, where it is turned and rounded column by column.
 */
export const decidedBytes = (plan: TensorPlan): number =>
  plan.made?.kind === 'rotated_grid' ? F64 * (2 * plan.shape[1]! ** 2 + 3 * numbersOf(plan)) : 0

/** Tokens of a batch of sequences of equal length. */
export function batchTokens(most: number, count: number, length: number): number {
  return length * Math.min(count, Math.max(1, Math.floor(most / length)))
}

export const numbersOf = ({ shape }: TensorPlan): number => shape.reduce((a, b) => a * b, 1)
export const sumOf = <Item>(items: readonly Item[], of: (item: Item) => number): number =>
  items.reduce((total, item) => total + of(item), 0)

/** The matrices of each stage, as they are stored. */
export function matricesOf(task: {
  tensors: readonly TensorPlan[]
  stages: readonly (readonly string[])[]
}): TensorPlan[][] {
  const byName = new Map(task.tensors.map((plan) => [plan.name, plan]))
  return task.stages.map((names) => names.map((name) => byName.get(name)!))
}

/** Bytes a weight that is stored as codes takes outside of the engine while it is read. */
export const unpackedBytes: Partial<Record<OpenCompressible['format'], number>> = {
  pare: 2,
  gptq: 3,
  awq: 3,
  mlx: 2,
  onnx: 2,
  spqr: 3,
  aqlm: 2,
  // Floats that are scaled, or the marks and both copies of what is sparse.
  'compressed-tensors': 8,
}

/** Kernels that are measured before a run, one after the other: a Gram matrix with its factor, or products. */
export function probeBytes({ hidden, vocabulary, layers }: ModelWidths): number {
  const widest = Math.max(hidden, ...layers.map(({ intermediate }) => intermediate))
  const solved = 4 * F64 * Math.min(widest, 1024) ** 2
  const multiplied = 3 * F32 * Math.min(hidden * Math.max(widest, Math.min(vocabulary, 16384)), mostWeights)
  return Math.max(solved, multiplied) + panelBytes
}
