/** The way back from a slice. */
import { OptionError, ShapeError } from '../errors.ts'
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { normalizeAxis, showShape } from '../shape.ts'
import { Tensor } from '../tensor.ts'

export interface PlaceOptions {
  axis: number
  /** Where the first entry goes. @default 0 */
  start?: number
  /** From one entry to the next, from 1 on. @default 1 */
  step?: number
}

type Place = Required<PlaceOptions> & { extent: number }

const placeOperation: Operation<[Tensor], Place, Tensor> = {
  name: 'place',
  forward: (kernels, [x], { axis, start, step, extent }) =>
    scope(() => {
      const zeros = (shape: readonly number[]) =>
        new Tensor(kernels, kernels.fill(x.dtype, shape, 0), x.dtype, shape)
      const joined = (parts: readonly Tensor[], at: number, shape: readonly number[]) =>
        new Tensor(
          kernels,
          kernels.concat(
            parts.map(({ handle }) => handle),
            at,
          ),
          x.dtype,
          shape,
        )
      const count = x.shape[axis]!
      let spaced = x
      if (step > 1 && count > 0) {
        // Every entry with the zeros behind it; those behind the last one may not fit.
        const wide = x.unsqueeze(axis + 1)
        const gaps = zeros(wide.shape.with(axis + 1, step - 1))
        const pairs = joined([wide, gaps], axis + 1, wide.shape.with(axis + 1, step))
        if (start === 0 && extent === count * step) return pairs.reshape(x.shape.with(axis, extent))
        spaced = pairs.reshape(x.shape.with(axis, count * step)).slice(axis, 0, (count - 1) * step + 1)
      }
      const behind = extent - start - spaced.shape[axis]!
      const around = [start, behind].map((entries) => zeros(x.shape.with(axis, entries)))
      return joined([around[0]!, spaced, around[1]!], axis, x.shape.with(axis, extent))
    }),
  backward: ({ inputs: [x], options: { axis, start, step }, gradient }) => [
    gradient.slice(axis, start, start + (x.shape[axis]! - 1) * step + 1, step),
  ],
}

/**
 * Zeros with x at positions `start`, `start + step`, .. of an axis of `extent` entries: what `slice` with the same
 * options gives x back from.
 *
 * @throws ShapeError where x does not fit.
 * @example place(tensor([1, 2]), 5, { axis: 0, start: 1, step: 2 }) // [0, 1, 0, 2, 0]
 */
export function place(x: Tensor, extent: number, { axis, start = 0, step = 1 }: PlaceOptions): Tensor {
  const at = normalizeAxis(axis, x.rank, 'place')
  if (![extent, start, step].every(Number.isInteger) || start < 0 || step < 1)
    throw new OptionError(`place: extent, start and step must be whole, got ${extent}, ${start}, ${step}`)
  if (start + Math.max(0, (x.shape[at]! - 1) * step + 1) > extent)
    throw new ShapeError(
      `place: axis ${axis} of ${showShape(x.shape)} does not fit into ${extent} entries from ${start} in steps of ${step}`,
    )
  return apply(placeOperation, [x], { axis: at, start, step, extent })
}
