/** Weights of an archive: plain tensors in any float type, and layers that are stored as codes, all as f32. */
import type { TensorArchive } from '../../formats/archive.ts'
import { decodeStored } from '../../nn/values/values.ts'
import { scope, type Tensor, tensor } from '../../tensor/index.ts'
import { checkRows, loadFloatRows, loadFloatSlice, loadFloats } from '../decode_rows.ts'
import { find } from '../gguf_weights.ts'
import type { ModelWeights, WeightInfo } from '../model_weights.ts'
import type { StoredLayer } from './stored_layer.ts'

/**
 * Every tensor that is no part of a layer is a weight of its own, in the order of the file; layers stand where their
 * first part does.
 *
 * @param layers stored as codes @default none
 */
export function storedWeights(
  archive: TensorArchive,
  fileBytes: number,
  layers: readonly StoredLayer[] = [],
): ModelWeights {
  const byPart = new Map(layers.flatMap((layer) => layer.parts.map((part) => [part, layer] as const)))
  const byName = new Map(layers.map((layer) => [layer.info.name, layer]))
  const infos = new Map<string, WeightInfo>()
  for (const { name, shape, type, bytes } of archive.tensors.values()) {
    const layer = byPart.get(name)
    if (layer) infos.set(layer.info.name, layer.info)
    else if (!name.endsWith('.rotary_emb.inv_freq')) infos.set(name, { name, shape, type, bytes })
  }
  const decoded = (layer: StoredLayer, start: number, end: number): Tensor =>
    scope(() => decodeStored(layer.values(start, end)))
  return {
    infos,
    fileBytes,
    load(name) {
      const info = find(infos, name)
      const layer = byName.get(name)
      return layer ? decoded(layer, 0, info.shape[0]!) : loadFloats(archive, info)
    },
    slice(name, start, end) {
      const info = find(infos, name)
      const layer = byName.get(name)
      return layer ? decoded(layer, start, end) : loadFloatSlice(archive, info, start, end)
    },
    rows(name, ids) {
      const info = find(infos, name)
      const layer = byName.get(name)
      if (!layer) return loadFloatRows(archive, info, ids)
      checkRows(info, ids)
      return scope(() => {
        const columns = info.shape[1]!
        const all = new Float32Array(ids.length * columns)
        for (const [i, id] of ids.entries())
          all.set(scope(() => decoded(layer, id, id + 1).toArray()) as Float32Array, i * columns)
        return tensor(all, [ids.length, columns])
      })
    },
    stored(name, start = 0, end = find(infos, name).shape[0]!) {
      return byName.get(name)?.values(start, end)
    },
    close: () => archive.close(),
  }
}
