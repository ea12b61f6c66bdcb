/** The weights of a model with edits done to them, in memory. */
import { memoryWeights } from '../models/memory_weights.ts'
import type { ModelWeights } from '../models/model_weights.ts'
import { applyEdits, type TensorEdits } from '../models/tensor_edits.ts'

/** The caller's scope owns them. */
export const editedWeights = (weights: ModelWeights, edits: TensorEdits): ModelWeights =>
  memoryWeights(
    new Map(
      [...weights.infos.keys()].map((name) => [name, applyEdits(weights.load(name), edits.get(name) ?? [])]),
    ),
  )
