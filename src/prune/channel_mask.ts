/** Masks of whole channels: scores of one index of an axis are added up, and the best indices stay. */
import { normalizeAxis } from '../tensor/index.ts'
import { keptCount, type Mask, type Scores, type Ties, topMask } from './mask.ts'

/** @example channelMask({ values: Float32Array.of(1, 0, 2, 3), shape: [2, 2] }, 0.5, 0, 'lowest') // [0, 0, 1, 1] */
export function channelMask({ values, shape }: Scores, sparsity: number, axis: number, ties: Ties): Mask {
  const at = normalizeAxis(axis, shape.length, 'channel')
  const inner = shape.slice(at + 1).reduce((product, extent) => product * extent, 1)
  const channelOf = (i: number) => Math.floor(i / inner) % shape[at]!
  const sums = new Float64Array(shape[at]!)
  for (let i = 0; i < values.length; i++) sums[channelOf(i)]! += values[i]!
  const kept = topMask(sums, keptCount(sums.length, sparsity), ties)
  const mask = new Uint8Array(values.length)
  for (let i = 0; i < mask.length; i++) mask[i] = kept[channelOf(i)]!
  return mask
}
