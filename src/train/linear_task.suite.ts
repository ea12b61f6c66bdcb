/** A small task whose steps can be worked by hand: y = w x over numbered samples, and losses (y - target)^2. */
import { Parameters } from '../nn/parameters.ts'
import type { Loader, TrainingTask } from '../optim/training_task.ts'
import { StateError } from '../tensor/errors.ts'
import { type RandomStream, randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'

export interface PointBatch {
  readonly ids: Uint32Array
}

/** Sample i has x = (i + 1) / 4 and the target 3 x - 1. */
const inputOf = (id: number) => (id + 1) / 4
const targetOf = (id: number) => 3 * inputOf(id) - 1

/** `samples` in an order that a named stream draws anew for each epoch, in batches of `size`, until `epochs` are over. */
export function pointLoader({
  samples = 12,
  size = 4,
  epochs = Number.POSITIVE_INFINITY,
  seed = 0,
}: {
  samples?: number
  size?: number
  epochs?: number
  seed?: number
} = {}): Loader<PointBatch> {
  const stream: RandomStream = randomStream(seed, 'order')
  let [epoch, at] = [0, 0]
  let before = stream.state()
  let order: Uint32Array | undefined
  const current = () => {
    if (!order) {
      before = stream.state()
      order = scope(() => stream.permutation(samples).toArray() as Uint32Array)
    }
    return order
  }
  return {
    next() {
      if (epoch >= epochs) return undefined
      const ids = current().slice(at, at + size)
      at += size
      if (at >= samples) [epoch, at, order] = [epoch + 1, 0, undefined]
      return { ids }
    },
    get epoch() {
      return epoch
    },
    state: () => ({ samples, epoch, at, stream: order ? before : stream.state() }),
    load(saved) {
      const state = saved as { samples: number; epoch: number; at: number; stream: typeof before }
      if (state.samples !== samples) throw new StateError('loader: the state is that of other data')
      ;[epoch, at, order] = [state.epoch, state.at, undefined]
      stream.load(state.stream)
      if (at > 0) current()
    },
  }
}

/** Weights `line.w` and `line.b`, f64, which begin at 0.5 and 0. */
export function pointTask(): TrainingTask<PointBatch> & { w: Tensor; b: Tensor } {
  const parameters = new Parameters()
  const w = parameters.add('line.w', tensor([0.5], [1], 'f64'))
  const b = parameters.add('line.b', tensor([0], [1], 'f64'))
  return {
    parameters,
    w,
    b,
    losses({ ids }) {
      const column = (of: (id: number) => number) => tensor(Array.from(ids, of), [ids.length], 'f64')
      return column(inputOf).mul(w).add(b).sub(column(targetOf)).square()
    },
    work: ({ ids }) => ({ units: ids.length, unit: 'points' }),
  }
}
