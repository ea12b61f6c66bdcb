/** Whether a model that is asked for can be trained in the memory of this machine, found out before any of it is made. */
import { totalmem } from 'node:os'
import type { WeightMaker } from '../../models/weight_maker.ts'
import { Parameters } from '../../nn/parameters.ts'
import { ResourceError } from '../../tensor/errors.ts'
import { elementCount, full, scope, zeros } from '../../tensor/index.ts'
import type { TrainingSettings } from './read_training.ts'

/** @throws ResourceError where so many weights, and so many logits of a batch, need more memory than there is */
export type Fits = (weights: number, logits?: number) => void

/** What the system allows this process, in bytes. */
const machineMemory = (): number =>
  Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY)

/**
 * The least that a training needs: its numbers, their gradients, moments and averages, and the logits of a batch. What
 * else a forward keeps comes on top of it.
 */
export function memoryFor(
  { optimiser, average, dtype }: TrainingSettings['train'],
  memory: number = machineMemory(),
): Fits {
  const computed = { bf16: 2, f32: 4, f64: 8 }[dtype]
  const trained = Math.max(4, computed)
  const moments = optimiser.name === 'sgd' ? Number((optimiser.momentum ?? 0) > 0) : 2
  const copies = 1 + moments + (average ? 1 : 0)
  const each = copies * trained + computed + (dtype === 'bf16' ? computed : 0)
  return (weights, logits = 0) => {
    const needed = weights * each + logits * computed
    if (needed <= memory) return
    const share = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
    throw new ResourceError(
      `train.model: ${weights.toLocaleString('en')} weights${logits > 0 ? ' and the logits of a batch' : ''} need ${share(needed)} to be trained, this machine has ${share(memory)}; choose a smaller model or batch`,
      { code: 'PARE_E_MEMORY', facts: { weights, needed, memory } },
    )
  }
}

/** Weights of a network, without the memory for them. @param build makes the network from what it is handed */
export function countWeights(build: (weights: WeightMaker) => unknown): number {
  const buffers = new Parameters()
  let weights = 0
  try {
    scope(() => {
      const zero = zeros([1])
      build({
        weight(_, shape) {
          weights += elementCount(shape)
          // A view: one number, whatever its shape.
          return zero.reshape(shape.map(() => 1)).expand(shape)
        },
        // Of a buffer nobody looks at the shape here.
        buffer: (path, _, value) => buffers.addBuffer(path, full([1], value)),
      })
    })
    return weights
  } finally {
    buffers.dispose()
  }
}
