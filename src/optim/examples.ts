/** What a loader draws batches from: examples with stable ids. */
import { createHash } from 'node:crypto'
import { updateInSlices } from '../tensor/hash_slices.ts'
import type { RandomStream, Tensor } from '../tensor/index.ts'
import type { TrainingBatch } from './training_task.ts'

/** Examples in the order of their ids. */
export interface Batch extends TrainingBatch {
  /** Token ids u32 [batch, length], or images f32 [batch, height, width, channels]. */
  readonly inputs: Tensor
  /** u32: the next tokens [batch, length], or classes [batch]. */
  readonly labels: Tensor
}

export interface Examples<B = Batch> {
  readonly name: string
  /** Ids go from 0 to count - 1. */
  readonly count: number
  /** Hash of the data, so that a saved position is not continued on other data. */
  readonly fingerprint: string
  /** `random` is for augmentation; an example may draw from it or not. The tensors belong to the caller's scope. */
  batch(ids: Uint32Array, random: RandomStream): B
}

/** SHA-256 of what the data is made of, in order. */
export function fingerprintOf(...parts: readonly (string | Uint8Array | Uint32Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) {
    hash.update(typeof part === 'string' ? 's' : 'b').update(`${part.length}/`)
    if (typeof part === 'string') hash.update(part)
    else updateInSlices(hash, part)
  }
  return hash.digest('hex')
}
