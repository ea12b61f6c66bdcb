/**
 * Where zeros may fall. Weights are [out, in] and [out, kh, kw, in / groups], row-major, so that what lies side by side
 * in memory lies along the inputs.
 *
 *   unstructured   anywhere
 *   n:m            all but n of every m neighbours of an axis     Mishra et al. 2021, arXiv:2104.08378
 *   block          rectangles of the [out, rest] matrix           Zhu and Gupta 2017, arXiv:1710.01878
 *   channel        all of one index of an axis
 *
 * JaxPruner (arXiv:2304.14082) has the same four over kernels that are [.., in, out].
 */
import { OptionError } from '../tensor/errors.ts'
import { normalizeAxis, type Shape, showShape } from '../tensor/index.ts'
import { blockMask } from './block_mask.ts'
import { channelMask } from './channel_mask.ts'
import { keptCount, type Mask, type Scores, type Ties, topMask } from './mask.ts'

export type Pattern =
  | { kind: 'unstructured' }
  /** Keeps n of every m, 1 <= n <= m, along `axis`, which m must divide. @default all axes behind the first, as one */
  | { kind: 'n:m'; n: number; m: number; axis?: number }
  | {
      kind: 'block'
      /** Rows and columns of a block, whole, from 1 on; blocks begin at the first row and column and are cut at the last. */
      shape: readonly [number, number]
      /** How the scores of a block become one. @default 'average' */
      pooling?: 'average' | 'max'
      /**
       * What the columns of a tensor with more than two axes are: all axes behind the first, or the second axis, over
       * whose further axes a block always reaches. @default 'flattened'
       */
      further?: 'flattened' | 'whole'
    }
  /** Scores of an index are added up. @default axis 0, the outputs */
  | { kind: 'channel'; axis?: number }

export const unstructured: Pattern = { kind: 'unstructured' }

/** @throws OptionError, which begins with `at`, for a pattern that no tensor can have */
export function checkPattern(at: string, pattern: Pattern): void {
  const whole = (x: number) => Number.isSafeInteger(x) && x >= 1
  switch (pattern.kind) {
    case 'unstructured':
      return
    case 'n:m': {
      const { n, m } = pattern
      if (whole(n) && whole(m) && n <= m) return
      throw new OptionError(
        `${at}: n:m needs whole numbers with 1 <= n <= m, got ${n}:${m}; 2:4 keeps two of every four`,
      )
    }
    case 'block':
      if (pattern.shape.length === 2 && pattern.shape.every(whole)) return
      throw new OptionError(`${at}: a block needs whole rows and columns from 1 on, got [${pattern.shape}]`)
    case 'channel':
      if (Number.isSafeInteger(pattern.axis ?? 0)) return
      throw new OptionError(`${at}: a channel needs a whole axis, got ${pattern.axis}`)
    default:
      throw new OptionError(
        `${at}: the pattern must be unstructured, n:m, block or channel, got ${(pattern satisfies never as Pattern).kind}`,
      )
  }
}

/** Of equal scores JaxPruner keeps the later ones in n:m, and the earlier ones elsewhere. */
export const usualTies = (pattern: Pattern): Ties => (pattern.kind === 'n:m' ? 'latest' : 'lowest')

/**
 * The mask of a tensor at a sparsity in [0, 1). All ones at 0. An n:m pattern has its own sparsity at any other.
 *
 * @throws OptionError where the pattern does not fit the shape
 * @example maskOf({ values: Float32Array.of(1, 2, 3, 4), shape: [4] }, 0.5, { kind: 'n:m', n: 1, m: 2 }) // [0, 1, 0, 1]
 */
export function maskOf(
  scores: Scores,
  sparsity: number,
  pattern: Pattern = unstructured,
  ties: Ties = usualTies(pattern),
): Mask {
  const { values } = scores
  if (sparsity === 0) return new Uint8Array(values.length).fill(1)
  switch (pattern.kind) {
    case 'unstructured':
      return topMask(values, keptCount(values.length, sparsity), ties)
    case 'n:m':
      return groupedMask(scores, pattern, ties)
    case 'block':
      return blockMask(scores, sparsity, pattern, ties)
    case 'channel':
      return channelMask(scores, sparsity, pattern.axis ?? 0, ties)
  }
}

/** What groups of m run along: how many entries, and how far apart. */
export function groupedExtent(shape: Shape, axis: number | undefined): { extent: number; inner: number } {
  const product = (extents: Shape) => extents.reduce((all, extent) => all * extent, 1)
  if (axis === undefined) return { extent: product(shape.length < 2 ? shape : shape.slice(1)), inner: 1 }
  const at = normalizeAxis(axis, shape.length, 'n:m')
  return { extent: shape[at]!, inner: product(shape.slice(at + 1)) }
}

function groupedMask({ values, shape }: Scores, { n, m, axis }: Pattern & { kind: 'n:m' }, ties: Ties): Mask {
  if (ties === 'all')
    throw new OptionError(`mask: ${n}:${m} keeps no more than ${n}, so that not all ties can stay`)
  const { extent, inner } = groupedExtent(shape, axis)
  if (extent % m !== 0)
    throw new OptionError(
      `mask: ${n}:${m} along ${axis === undefined ? 'the inputs' : `axis ${axis}`} of ${showShape(shape)} needs an extent divisible by ${m}, got ${extent}; leave the weight out or change m`,
    )
  const mask = new Uint8Array(values.length)
  const group = values.slice(0, m)
  for (let block = 0; block < values.length; block += extent * inner)
    for (let first = block; first < block + inner; first++)
      for (let start = first; start < first + extent * inner; start += m * inner) {
        for (let i = 0; i < m; i++) group[i] = values[start + i * inner]!
        for (const [i, kept] of topMask(group, n, ties).entries()) mask[start + i * inner] = kept
      }
  return mask
}
