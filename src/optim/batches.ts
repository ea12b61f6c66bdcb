/** Batches without an end, whose position can be saved. */
import { OptionError, StateError } from '../tensor/errors.ts'
import { randomStream, scope } from '../tensor/index.ts'

/** Where a source of batches stands: JSON can hold it. */
export type Position = Readonly<Record<string, number | string>>

export interface Batches<B> {
  /** The next batch; what it makes belongs to the caller's scope. */
  next(): B
  state(): Position
  /** Goes on where `state` was taken. @throws StateError for a position of another source */
  load(position: Position): void
}

export interface ShuffledBatchesOptions<B> {
  /** Examples that there are. */
  count: number
  /** Examples of a batch, at most `count`. What is left at the end of an epoch is left out. */
  batchSize: number
  /** Of the orders; every epoch has one of its own. */
  seed: number
  /** Makes a batch of examples, given by their numbers from 0 on. */
  batch: (examples: Uint32Array) => B
}

/**
 * Every example once an epoch, in random order. The order of an epoch depends on the seed and the number of the epoch
 * alone.
 *
 * @throws OptionError for counts that are not whole, or a batch that is larger than all there is
 * @example shuffledBatches({ count: 512, batchSize: 16, seed: 1, batch: (ids) => inputs.indexSelect(0, tensor(ids, [16], 'u32')) })
 */
export function shuffledBatches<B>({ count, batchSize, seed, batch }: ShuffledBatchesOptions<B>): Batches<B> {
  if (!(Number.isInteger(batchSize) && batchSize >= 1 && Number.isInteger(count) && count >= batchSize))
    throw new OptionError(
      `batches: needs whole numbers with 1 <= batchSize <= count, got ${batchSize} of ${count} examples`,
    )
  const perEpoch = Math.floor(count / batchSize)
  let [epoch, at] = [0, 0]
  let order: { epoch: number; examples: Uint32Array } | undefined
  const orderOf = (wanted: number): Uint32Array => {
    if (order?.epoch !== wanted) {
      const stream = randomStream(seed, `batches of epoch ${wanted}`)
      order = { epoch: wanted, examples: scope(() => stream.permutation(count).toArray() as Uint32Array) }
    }
    return order.examples
  }
  return {
    next() {
      if (at === perEpoch) [epoch, at] = [epoch + 1, 0]
      const start = at * batchSize
      const examples = orderOf(epoch).slice(start, start + batchSize)
      at++
      return batch(examples)
    },
    state: () => ({ count, batchSize, seed, epoch, at }),
    load(position) {
      const { epoch: savedEpoch, at: savedAt } = position
      const isSame = position.count === count && position.batchSize === batchSize && position.seed === seed
      const isWhole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
      if (!isSame || !isWhole(savedEpoch) || !isWhole(savedAt) || (savedAt as number) > perEpoch)
        throw new StateError(
          `batches: the position is not one of ${count} examples in batches of ${batchSize} with seed ${seed}; load that of the same data and options`,
        )
      ;[epoch, at] = [savedEpoch as number, savedAt as number]
    },
  }
}
