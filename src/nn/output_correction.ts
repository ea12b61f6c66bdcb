/**
 * Outputs of norms of a compressed network, brought back to the means and deviations that they had before
 * (Frantar and Alistarh 2022, arXiv:2208.11580, section 6):
 *
 *   y <- (y - mean_c) deviation_d / (deviation_c + 1e-9) + mean_d      by channel; c compressed, d dense
 */
import { ShapeError } from '../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../tensor/index.ts'

/** Of the last axis, over everything else. */
export interface ChannelStatistics {
  readonly mean: Float64Array
  /** Square root of the mean squared distance from the mean. */
  readonly deviation: Float64Array
}

/** Gathers them over batches, in f64 about the mean of the first. */
export class ChannelMoments {
  private readonly shift: Float64Array
  private readonly sums: Float64Array
  private readonly squares: Float64Array
  rows = 0

  constructor(channels: number) {
    this.shift = new Float64Array(channels)
    this.sums = new Float64Array(channels)
    this.squares = new Float64Array(channels)
  }

  /** y [.., channels] */
  add(y: Tensor): void {
    const channels = this.sums.length
    if (y.extent(-1) !== channels)
      throw new ShapeError(`channel moments: needs ${channels} channels, got ${y.extent(-1)}`)
    const rows = y.size / channels
    if (rows === 0) return
    const [sums, squares] = scope(() => {
      const flat = y.reshape([rows, channels]).cast('f64')
      // Distances from a typical value keep their digits where the mean is large.
      if (this.rows === 0) this.shift.set(flat.mean([0]).toArray() as Float64Array)
      const away = flat.sub(tensor(this.shift, [channels], 'f64'))
      return [away.sum([0]).toArray(), away.mul(away).sum([0]).toArray()] as [Float64Array, Float64Array]
    })
    for (let c = 0; c < channels; c++) {
      this.sums[c]! += sums[c]!
      this.squares[c]! += squares[c]!
    }
    this.rows += rows
  }

  /** @throws ShapeError where nothing was added */
  value(): ChannelStatistics {
    if (this.rows === 0)
      throw new ShapeError('channel moments: no rows were seen; run the network on some data')
    const away = this.sums.map((sum) => sum / this.rows)
    return {
      mean: away.map((mean, c) => mean + this.shift[c]!),
      deviation: away.map((mean, c) => Math.sqrt(Math.max(0, this.squares[c]! / this.rows - mean * mean))),
    }
  }
}

/** Factor and shift of each channel: y <- y * scale + shift. */
export function outputCorrection(
  dense: ChannelStatistics,
  compressed: ChannelStatistics,
): { scale: Float64Array; shift: Float64Array } {
  const scale = dense.deviation.map((deviation, c) => deviation / (compressed.deviation[c]! + 1e-9))
  return { scale, shift: dense.mean.map((mean, c) => mean - compressed.mean[c]! * scale[c]!) }
}

/**
 * The correction inside of a norm, which multiplies by `weight` and adds `bias` at its end.
 *
 * @example const { weight, bias } = correctedNorm(norm, outputCorrection(dense.value(), compressed.value()))
 */
export function correctedNorm(
  { weight, bias }: { weight: Tensor; bias: Tensor },
  { scale, shift }: { scale: Float64Array; shift: Float64Array },
): { weight: Tensor; bias: Tensor } {
  return scope(() => {
    const channel = (values: Float64Array) => tensor(values, [values.length], 'f64')
    const factor = channel(scale)
    return {
      weight: weight.cast('f64').mul(factor).cast(weight.dtype),
      bias: bias.cast('f64').mul(factor).add(channel(shift)).cast(bias.dtype),
    }
  })
}
