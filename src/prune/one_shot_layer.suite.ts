/** A synthetic layer, what one-shot methods make of it, and how far that is off. */
import type { LayerEdit, LayerMethod, LayerTask } from '../calibrate/method.ts'
import { squaresOf } from '../calibrate/statistics.ts'
import { outputError, type SyntheticLayer, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import type { StoredSource } from '../nn/values/values.ts'
import { scope, type Tensor } from '../tensor/index.ts'

export const numbers = (x: Tensor) => Array.from(x.toArray(), Number)

/** 128 outputs, 256 inputs, 4096 samples. */
export const wideLayer = (seed: number) => syntheticLayer({ seed, rows: 128, columns: 256, tokens: 4096 })

export const taskOf = (
  { weight, gram }: Pick<SyntheticLayer, 'weight' | 'gram'>,
  extra: Partial<LayerTask> = {},
): LayerTask => ({
  name: 'block.0/q',
  dense: weight,
  current: weight,
  statistics: { gram, squares: squaresOf(gram), rows: 4096 },
  ...extra,
})

/** |(W - W') X|^2 / |W X|^2. */
export const relativeError = ({ weight, gram }: Pick<SyntheticLayer, 'weight' | 'gram'>, result: Tensor) =>
  scope(() => outputError(weight, result, gram) / outputError(weight, weight.mul(0), gram))

export const errorOf = (layer: SyntheticLayer, method: LayerMethod, extra: Partial<LayerTask> = {}) =>
  scope(() => relativeError(layer, method.compress(taskOf(layer, extra)).decoded!))

export const valuesOf = (edit: LayerEdit) => (edit.source as StoredSource).values
export const zerosIn = (mask: Uint8Array) => mask.reduce((count, lives) => count + 1 - lives, 0)
