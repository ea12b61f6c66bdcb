/** A model whose tensors have edits: one more open model, to everyone who plans, walks, compresses or compares it. */
import { OptionError, printable } from '../tensor/errors.ts'
import { indexSelect, scope, type Tensor, tensor } from '../tensor/index.ts'
import { Bert } from './bert/bert.ts'
import { Llama } from './llama/llama.ts'
import { embeddingName, headName } from './llama/names.ts'
import type { ModelWeights, WeightInfo } from './model_weights.ts'
import type { OpenCompressible } from './open_model.ts'
import { applyEdits, checkEdit, editsOfRows, type TensorEdit, type TensorEdits } from './tensor_edits.ts'
import { asType } from './write/folder_source.ts'
import { asNumbers, isFloatType } from './write/tensor_choice.ts'

/** Of a model that was edited: the names of what is no longer what the file has. */
export interface Edited {
  readonly edited?: ReadonlySet<string> | undefined
  /** The model as its files have it. */
  readonly unedited?: OpenCompressible | undefined
}

/**
 * The model with the edits, over the files of the source, which stay open as long as it does. Edited tensors keep their
 * float type; those that were codes become F32. Tensors are edited anew each time they are read.
 *
 * @throws OptionError for an edit of a tensor that the model does not have, or that does not fit its shape.
 * @example const rotated = editedModel(source, quarotEdits(source, { seed: 0 }))
 */
export function editedModel<Source extends OpenCompressible & Edited>(
  source: Source,
  edits: TensorEdits,
): Source & Edited {
  const isTied = source.family === 'llama' && source.model.config.tied
  const isUntied = isTied && edits.has(headName)
  const from = (name: string) => (isTied && name === headName ? embeddingName : name)
  const weights = editedWeights(source.weights, edits, from)
  const edited = new Set([...(source.edited ?? []), ...edits.keys()])
  const unedited = source.unedited ?? source
  const open = { ...source, weights, edited, unedited, ...(isUntied ? untiedJson(source) : {}) }
  if (source.family === 'bert') return { ...open, model: new Bert(source.model.config, weights) }
  const { config } = source.model
  return { ...open, model: new Llama(isUntied ? { ...config, tied: false } : config, weights) }
}

/**
 * The same model for whoever asks types how far its values may be from others: edited ones are in f32, whatever they were
 * made from.
 */
export function withExactTypes<Source extends OpenCompressible & Edited>(source: Source): Source {
  const { edited, weights } = source
  if (!edited) return source
  const infos = new Map(
    [...weights.infos].map(([name, info]) => [
      name,
      edited.has(name) ? { ...info, ...asNumbers(info.shape, 'F32') } : info,
    ]),
  )
  return { ...source, weights: { ...weights, infos } }
}

function untiedJson(source: object): { configJson?: object } {
  const { configJson } = source as { configJson?: object }
  return configJson ? { configJson: { ...configJson, tie_word_embeddings: false } } : {}
}

/** @param from the name of the tensor that one is made of */
function editedWeights(
  weights: ModelWeights,
  edits: TensorEdits,
  from: (name: string) => string,
): ModelWeights {
  const infos = editedInfos(weights.infos, edits, from)
  const editsOf = (name: string): readonly TensorEdit[] | undefined => edits.get(name)
  const edit = (name: string, read: () => Tensor, own: readonly TensorEdit[]) =>
    scope(() => (own.length === 0 ? read() : applyEdits(read(), own, name)))
  const load = (name: string) => edit(name, () => weights.load(from(name)), editsOf(name) ?? [])
  const some = (name: string, ids: Uint32Array, read: () => Tensor): Tensor => {
    const own = editsOf(name)
    if (!own) return read()
    const ofRows = editsOfRows(own, ids, infos.get(name)!.shape[1] ?? 1)
    if (ofRows) return edit(name, read, ofRows)
    return scope(() => indexSelect(load(name), 0, tensor(ids, [ids.length], 'u32')))
  }
  const slice = (name: string, start: number, end: number) => {
    const ids = Uint32Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i)
    return some(name, ids, () => weights.slice(from(name), start, end))
  }
  const { stored, raw } = weights
  return {
    ...weights,
    infos,
    load,
    rows: (name, ids) => some(name, ids, () => weights.rows(from(name), ids)),
    slice,
    ...(stored
      ? {
          stored: (name: string, start?: number, end?: number) =>
            edits.has(name) ? undefined : stored.call(weights, name, start, end),
        }
      : {}),
    ...(raw
      ? {
          raw(name: string, rows?: { start: number; end: number }) {
            if (!edits.has(name)) return raw.call(weights, name, rows)
            return scope(() =>
              asType(rows ? slice(name, rows.start, rows.end) : load(name), infos.get(name)!.type).bytes(),
            )
          },
        }
      : {}),
  }
}

function editedInfos(
  infos: ModelWeights['infos'],
  edits: TensorEdits,
  from: (name: string) => string,
): Map<string, WeightInfo> {
  const found = new Map(infos)
  // A copy beside a tied embedding is what nobody reads.
  if (from(headName) === embeddingName) found.delete(headName)
  for (const [name, own] of edits) {
    const info = infos.get(from(name))
    if (!info)
      throw new OptionError(
        `${printable(name)}: has edits, and the model has no such tensor; name one of its own`,
        { code: 'PARE_E_EDIT', facts: { tensor: name } },
      )
    for (const edit of own) checkEdit(name, info.shape, edit)
    const type = isFloatType(info.type) ? info.type : 'F32'
    found.set(name, { ...info, name, ...asNumbers(info.shape, type) })
  }
  return found
}
