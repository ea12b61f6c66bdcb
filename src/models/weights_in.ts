/** Weights read in another number type than f32. */
import { scope } from '../tensor/index.ts'
import type { ModelWeights } from './model_weights.ts'

/** Each weight rounded once as it is read: bf16 takes half the memory. */
export function weightsIn(dtype: 'bf16' | 'f64', weights: ModelWeights): ModelWeights {
  return {
    infos: weights.infos,
    fileBytes: weights.fileBytes,
    dtype,
    load: (name) => scope(() => weights.load(name).cast(dtype)),
    rows: (name, ids) => scope(() => weights.rows(name, ids).cast(dtype)),
    slice: (name, start, end) => scope(() => weights.slice(name, start, end).cast(dtype)),
    ...(weights.raw ? { raw: weights.raw.bind(weights) } : {}),
    close: () => weights.close(),
  }
}
