/** Norms of groups of channels by their definitions, in f64: x [samples, rows, channels]. */

export interface ChannelSizes {
  samples: number
  rows: number
  channels: number
  groups: number
}

/** Calls `body(place, statistic, channel)` for every number. */
function each(
  { samples, rows, channels, groups }: ChannelSizes,
  body: (place: number, statistic: number, channel: number) => void,
): void {
  const width = channels / groups
  for (let place = 0; place < samples * rows * channels; place++) {
    const channel = place % channels
    const sample = Math.floor(place / (rows * channels))
    body(place, sample * groups + Math.floor(channel / width), channel)
  }
}

const countOf = ({ rows, channels, groups }: ChannelSizes) => (rows * channels) / groups

export function channelNorm(
  x: Float64Array,
  weight: Float64Array | undefined,
  bias: Float64Array | undefined,
  sizes: ChannelSizes,
  epsilon: number,
): [out: Float64Array, mean: Float64Array, variance: Float64Array] {
  const mean = new Float64Array(sizes.samples * sizes.groups)
  const variance = mean.slice()
  const out = new Float64Array(x.length)
  const count = countOf(sizes)
  each(sizes, (place, at) => {
    mean[at]! += x[place]! / count
  })
  each(sizes, (place, at) => {
    variance[at]! += (x[place]! - mean[at]!) ** 2 / count
  })
  each(sizes, (place, at, channel) => {
    const normalized = (x[place]! - mean[at]!) / Math.sqrt(variance[at]! + epsilon)
    out[place] = normalized * (weight?.[channel] ?? 1) + (bias?.[channel] ?? 0)
  })
  return [out, mean, variance]
}

/** dx = (g w - mean(g w) - n mean(g w n)) / sqrt(variance + epsilon), where n is the normalized x. */
export function channelNormGradient(
  x: Float64Array,
  gradient: Float64Array,
  weight: Float64Array | undefined,
  [mean, variance]: readonly [Float64Array, Float64Array],
  sizes: ChannelSizes,
  epsilon: number,
): [dx: Float64Array, dweight: Float64Array, dbias: Float64Array] {
  const count = countOf(sizes)
  const [shift, slope] = [new Float64Array(mean.length), new Float64Array(mean.length)]
  const [dweight, dbias] = [new Float64Array(sizes.channels), new Float64Array(sizes.channels)]
  const root = (at: number) => 1 / Math.sqrt(variance[at]! + epsilon)
  const normalized = (place: number, at: number) => (x[place]! - mean[at]!) * root(at)
  each(sizes, (place, at, channel) => {
    const [g, n] = [gradient[place]!, normalized(place, at)]
    const weighted = g * (weight?.[channel] ?? 1)
    shift[at]! += weighted / count
    slope[at]! += (weighted * n) / count
    dweight[channel]! += g * n
    dbias[channel]! += g
  })
  const dx = new Float64Array(x.length)
  each(sizes, (place, at, channel) => {
    const weighted = gradient[place]! * (weight?.[channel] ?? 1)
    dx[place] = (weighted - shift[at]! - normalized(place, at) * slope[at]!) * root(at)
  })
  return [dx, dweight, dbias]
}
