/**
 * Weights in words, as the native core reads them: native/src/stored_weight.rs names the kinds. Words hold handles, and are good
 * for as long as the tensors are.
 */
import { Tensor } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import type { WeightSource } from '../weight_source.ts'
import type { ProductActivations } from './packed_product.ts'
import type { PackedWeight } from './packed_weight.ts'

export type Words = readonly number[]

/** How products of a source run. */
export interface StoredProduct {
  words: Words
  activations: ProductActivations
  /** More rows than `fewRows` are multiplied another way. */
  fewOnly: boolean
}

export const storedOf = (source: WeightSource): StoredProduct | undefined =>
  'stored' in source ? (source.stored as StoredProduct) : undefined

/** x f32 [rows, in] -> [rows, out] */
export function storedProduct(
  words: Words,
  out: number,
  x: Tensor,
  activations: ProductActivations = 'f32',
): Tensor {
  const all = Uint32Array.from(words)
  const handle = callNative((native) => native.storedProduct(all, x.handle, activations))
  return new Tensor(x.kernels, handle, 'f32', [x.extent(0), out])
}

/** In place of a handle: nothing. */
export const NONE = 0xffff_ffff

/** @param floats inputs are never rounded */
export const packedWords = ({ form, bytes, order }: PackedWeight, floats = false): Words => [
  ...[0, callNative((native) => native.packedFormCode(form))],
  ...[order?.handle ?? NONE, bytes.handle, Number(floats)],
]

export const sumWords = (terms: readonly Words[]): Words => [7, terms.length, ...terms.flat()]

/** left (right x) */
export const productWords = (left: Words, right: Words): Words => [8, ...left, ...right]

/** Factors f32 of outputs and of inputs. */
export const scaledWords = (rows: Tensor | undefined, columns: Tensor | undefined, inner: Words): Words => [
  ...[9, rows?.handle ?? NONE, columns?.handle ?? NONE],
  ...inner,
]

/** Place p of the weight is column `order[p]` of the inputs, u32. */
export const permutedWords = (order: Tensor, inner: Words): Words => [10, order.handle, ...inner]
