/** Weights of a new network: each from a stream of its own name, so that a change in one leaves the others alone. */
import type { Parameters } from '../../nn/parameters.ts'
import { type ComputeType, elementCount, full, randomStream, type Shape, scope } from '../../tensor/index.ts'
import type { Initial, WeightMaker } from '../weight_maker.ts'

/**
 * Weights drawn anew and added to `parameters`.
 *
 * @example const net = resnet({ depth: 20, classes: 10 }, freshWeights(new Parameters(), { seed: 0 }))
 */
export function freshWeights(
  parameters: Parameters,
  { seed, dtype = 'f32' }: { seed: number; dtype?: ComputeType },
): WeightMaker {
  const drawn = (path: string, shape: Shape, initial: Initial) => {
    if (initial.kind === 'constant') return full(shape, initial.value, dtype)
    if (initial.kind === 'gates') {
      const quarter = elementCount(shape) / 4
      return full([quarter], initial.forget, dtype).place(4 * quarter, { axis: 0, start: quarter })
    }
    const deviation = Math.sqrt((initial.kind === 'he' ? 2 : 1) / initial.fanIn)
    return randomStream(seed, path).normal(shape, 'f64').mul(deviation).cast(dtype)
  }
  return {
    weight: (path, shape, initial) => scope(() => parameters.add(path, drawn(path, shape, initial))),
    buffer: (path, shape, value) =>
      scope(() => parameters.addBuffer(path, full(shape, value, dtype === 'bf16' ? 'f32' : dtype))),
  }
}
