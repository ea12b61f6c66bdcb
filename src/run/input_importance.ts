/** What an importance matrix says about the weights of an open model; each file is read once for a model. */
import { readImatrix } from '../formats/gguf/imatrix.ts'
import { importanceOf } from '../models/llama/importance.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'

type Importance = ReadonlyMap<string, Float32Array>
const known = new WeakMap<object, Map<string, Importance>>()

/** By the name of the weight; nothing where no file is given. */
export function inputImportance(
  { weights }: Pick<OpenLanguageModel, 'weights'>,
  imatrix: string | undefined,
): Importance | undefined {
  if (imatrix === undefined) return undefined
  const files = known.get(weights) ?? new Map<string, Importance>()
  known.set(weights, files)
  const importance = files.get(imatrix) ?? importanceOf(readImatrix(imatrix), imatrix, weights.infos)
  files.set(imatrix, importance)
  return importance
}
