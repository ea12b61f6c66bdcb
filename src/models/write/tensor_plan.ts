/** What a target will store for each weight of a model, known before anything is compressed. */
import type { PareWeight } from '../../formats/pare_weight.ts'
import type { Grid } from '../../nn/grid.ts'
import type { WeightInfo } from '../model_weights.ts'

export type WeightRole = 'matrix' | 'embedding' | 'head' | 'vector'

export interface TensorPlan {
  /** Hugging Face name. */
  readonly name: string
  readonly shape: readonly number[]
  readonly role: WeightRole
  /** How the source stores it. */
  readonly sourceType: string
  /** How the target stores it: `Q3_K`, `3 bits, groups of 64`, `F16`. */
  readonly type: string
  /** What a method rounds it to; nothing where it is stored as numbers or kept. */
  readonly grid?: Grid
  /** How codes that are there already are put together; no method rounds to them. */
  readonly described?: PareWeight
  /** How a method will put it together, where that is more than codes of a grid; its size may change with the data. */
  readonly made?: PareWeight
  /** The source's bytes are copied. */
  readonly kept: boolean
  /** Bytes in the target, scales and zeros included. */
  readonly bytes: number
  /** Why it is not what was asked for. */
  readonly note?: string
}

/** What a weight is, by its name and shape. */
export function roleOf({ name, shape }: WeightInfo, matrices: ReadonlySet<string>): WeightRole {
  if (matrices.has(name)) return 'matrix'
  if (shape.length !== 2) return 'vector'
  return /(^|\.)lm_head\./.test(name) ? 'head' : 'embedding'
}

/** Bits a weight of the compressed matrices, with all their metadata. */
export function bitsPerWeight(plans: readonly TensorPlan[]): number {
  const matrices = plans.filter(({ role }) => role === 'matrix')
  const weights = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  return (matrices.reduce((sum, { bytes }) => sum + bytes, 0) * 8) / weights
}
