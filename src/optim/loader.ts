/**
 * Batches of examples, epoch after epoch, in an order that a seed decides and that goes on where it stopped.
 *
 * The order of an epoch comes from the random stream `order`, augmentation from `augmentation`: another order leaves
 * the crops as they are, and the reverse.
 */
import { OptionError, printable, StateError } from '../tensor/errors.ts'
import { type RandomStream, randomStream, type StreamState, scope } from '../tensor/index.ts'
import type { Examples } from './examples.ts'
import type { Loader } from './training_task.ts'

/**
 * The ids of one epoch in their order: all, some, or some repeatedly. `random` is the stream `order`, `batch` the examples
 * of a batch. A saved position carries the name of the function and goes on with an order of that name alone, so another
 * order, or one with other numbers in it, needs another name.
 */
export type EpochOrder = (epoch: number, random: RandomStream, count: number, batch: number) => Uint32Array

export interface LoaderOptions {
  /** Examples a batch. */
  batch: number
  /** Whether the examples that are left at the end of an epoch are left out, or make a smaller batch. */
  dropLast: boolean
  /** @default 0 */
  seed?: number | bigint
  /** How often the examples are gone through at most. @default without end */
  epochs?: number
  /** @default 'shuffled' */
  order?: 'shuffled' | 'in order' | EpochOrder
}

/** Where a loader stands: JSON can hold it. */
export interface LoaderState {
  /** Fingerprint of the examples. */
  data: string
  batch: number
  dropLast: boolean
  /** `shuffled`, `in order`, or `function NAME`. */
  orderName: string
  /** Epochs that are over. */
  epoch: number
  /** Examples of this epoch that are used. */
  taken: number
  /** The stream that the order of this epoch is drawn from, before it was. */
  order: StreamState
  augmentation: StreamState
}

const inOrder: EpochOrder = (_epoch, _random, count) => Uint32Array.from({ length: count }, (_, i) => i)
const shuffled: EpochOrder = (_epoch, random, count) =>
  scope(() => random.permutation(count).toArray() as Uint32Array)

/**
 * @throws OptionError where there are no examples, or fewer than a batch and `dropLast` is set, and for an order without a
 *   name.
 * @example const loader = createLoader(windows, { batch: 8, dropLast: true, seed: 1 })
 */
export function createLoader<B>(examples: Examples<B>, options: LoaderOptions): Loader<B> {
  const { batch, dropLast, seed = 0, epochs = Number.POSITIVE_INFINITY, order = 'shuffled' } = options
  checkOptions(examples, { batch, dropLast, epochs })
  const orderOf = order === 'shuffled' ? shuffled : order === 'in order' ? inOrder : order
  const orderName = nameOf(order)
  const orderStream = randomStream(seed, 'order')
  const augmentation = randomStream(seed, 'augmentation')
  let epoch = 0
  let taken = 0
  let before = orderStream.state()
  let ids: Uint32Array | undefined

  /** The order of the epoch, drawn when its first batch is asked for. */
  const current = (): Uint32Array => {
    if (ids) return ids
    before = orderStream.state()
    ids = drawOrder(epoch, orderStream)
    return ids
  }
  const drawOrder = (epoch: number, stream: RandomStream): Uint32Array => {
    const drawn = orderOf(epoch, stream, examples.count, batch)
    checkOrder(examples, drawn, { epoch, batch: dropLast ? batch : 1 })
    return drawn
  }
  const startNextEpoch = () => {
    epoch += 1
    taken = 0
    ids = undefined
    before = orderStream.state()
  }
  return {
    next() {
      if (epoch >= epochs) return undefined
      const all = current()
      const chosen = all.slice(taken, taken + batch)
      const made = examples.batch(chosen, augmentation)
      taken += chosen.length
      const left = all.length - taken
      if (left < (dropLast ? batch : 1)) startNextEpoch()
      return made
    },
    get epoch() {
      return epoch
    },
    state: (): LoaderState => ({
      data: examples.fingerprint,
      batch,
      dropLast,
      orderName,
      epoch,
      taken,
      order: ids ? before : orderStream.state(),
      augmentation: augmentation.state(),
    }),
    load(saved) {
      const place = `loader of ${examples.name}`
      const state = checkState(place, saved, { data: examples.fingerprint, batch, dropLast, orderName })
      // On streams of its own, so that a position that does not fit leaves the loader where it is.
      const [order, drawing] = [randomStream(seed, 'order'), randomStream(seed, 'augmentation')]
      order.load(state.order)
      drawing.load(state.augmentation)
      const drawn = state.taken > 0 ? drawOrder(state.epoch, order) : undefined
      if (drawn && drawn.length - state.taken < (dropLast ? batch : 1))
        throw new StateError(
          `${place}: the saved epoch ${state.epoch} has ${state.taken} examples behind it, more than its order holds; the file is damaged`,
        )
      orderStream.load(order.state())
      augmentation.load(drawing.state())
      before = state.order
      ids = drawn
      epoch = state.epoch
      taken = state.taken
    },
  }
}

function nameOf(order: 'shuffled' | 'in order' | EpochOrder): string {
  if (typeof order === 'string') return order
  if (order.name !== '') return `function ${order.name}`
  throw new OptionError(
    'order: needs a function with a name, got one without, which a saved position could not tell from others; give it a name',
  )
}

function checkOptions(
  { name, count }: Examples<unknown>,
  { batch, dropLast, epochs }: { batch: number; dropLast: boolean; epochs: number },
): void {
  if (!(Number.isInteger(batch) && batch >= 1))
    throw new OptionError(`batch: a whole number from 1 on is needed, got ${batch}`)
  if (!((Number.isInteger(epochs) || epochs === Number.POSITIVE_INFINITY) && epochs >= 1))
    throw new OptionError(`epochs: a whole number from 1 on is needed, got ${epochs}`)
  if (count === 0)
    throw new OptionError(`${name}: has no examples; give more data`, { code: 'PARE_E_EMPTY_DATA' })
  if (dropLast && count < batch)
    throw new OptionError(
      `${name}: a batch needs ${batch} examples, there are ${count}; choose a smaller batch, or keep the last one`,
      { code: 'PARE_E_EMPTY_DATA', facts: { needed: batch, found: count } },
    )
}

function checkOrder(
  { name, count }: Examples<unknown>,
  ids: Uint32Array,
  { epoch, batch }: { epoch: number; batch: number },
): void {
  if (ids.length < batch)
    throw new OptionError(
      `${name}: the order of epoch ${epoch} has ${ids.length} examples, a batch needs ${batch}`,
    )
  const wrong = ids.find((id) => id >= count)
  if (wrong !== undefined)
    throw new OptionError(
      `${name}: the order of epoch ${epoch} names example ${wrong}, there are ${count}, counted from 0`,
    )
}

/** States come from files: every field is looked at. */
function checkState(
  place: string,
  saved: unknown,
  wanted: Pick<LoaderState, 'data' | 'batch' | 'dropLast' | 'orderName'>,
): LoaderState {
  const state = saved as LoaderState
  const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0
  if (!isCount(state?.epoch) || !isCount(state.taken) || !state.order || !state.augmentation)
    throw new StateError(`${place}: the saved position is incomplete; the file is damaged`)
  if (state.data !== wanted.data)
    throw new StateError(`${place}: the saved position is that of other data; start again, or give that data`)
  for (const field of ['batch', 'dropLast'] as const)
    if (state[field] !== wanted[field])
      throw new StateError(
        `${place}: the saved position has ${field} ${state[field]}, this run ${wanted[field]}; start again, or go back to it`,
      )
  if (state.orderName !== wanted.orderName) {
    const found = typeof state.orderName === 'string' ? printable(state.orderName) : 'no name'
    throw new StateError(
      `${place}: the saved position has the order ${found}, this run ${printable(wanted.orderName)}; start again, or go back to it`,
      { facts: { saved: state.orderName, wanted: wanted.orderName } },
    )
  }
  return state
}
