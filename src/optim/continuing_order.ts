/** An order of windows for models that carry their state from one batch to the next. */
import type { EpochOrder } from './loader.ts'

/**
 * Row r of every batch goes on where row r of the batch before ended: the text is cut into as many parts of equal length as
 * a batch has rows, and each row reads one of them. Windows behind the last whole batch are left out.
 *
 * @example
 * // Of 7 windows in batches of 2: 0 and 3, 1 and 4, 2 and 5.
 * createLoader(windows, { batch: 2, dropLast: true, order: continuingOrder })
 */
export const continuingOrder: EpochOrder = (_epoch, _random, count, batch) => {
  const steps = Math.floor(count / batch)
  return Uint32Array.from({ length: steps * batch }, (_, i) => (i % batch) * steps + Math.floor(i / batch))
}
