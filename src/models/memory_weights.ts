/** Weights that are tensors in memory: of a model in training, or one that was made and never stored. */
import { OptionError, printable } from '../tensor/errors.ts'
import { indexSelect, scope, sizeOf, type Tensor, tensor } from '../tensor/index.ts'
import { checkRows } from './decode_rows.ts'
import { find } from './gguf_weights.ts'
import type { ModelWeights, WeightInfo } from './model_weights.ts'

/**
 * A store over tensors by name. `load` hands out the tensor itself, and `rows` and `slice` are operations on it, so
 * that gradients reach it. The tensors stay the caller's: `close` frees nothing.
 *
 * @param tensors all of one computing type
 * @throws OptionError where there is none, or where two types are mixed
 * @example new Llama(config, memoryWeights(parameters.tensors())).load()
 */
export function memoryWeights(tensors: ReadonlyMap<string, Tensor>): ModelWeights {
  const [first] = tensors
  if (!first) throw new OptionError('weights in memory: need at least one tensor, got none')
  const [firstName, { dtype }] = first
  const infos = new Map<string, WeightInfo>()
  let fileBytes = 0
  for (const [name, x] of tensors) {
    if (x.dtype !== dtype) {
      throw new OptionError(
        `${printable(name)}: weights in memory need one type, got ${x.dtype} beside ${dtype} of ${printable(firstName)}; cast it first`,
      )
    }
    const bytes = x.size * sizeOf(dtype)
    infos.set(name, { name, shape: x.shape, type: dtype.toUpperCase(), bytes })
    fileBytes += bytes
  }
  const load = (name: string): Tensor => tensors.get(find(infos, name).name)!
  return {
    infos,
    fileBytes,
    dtype,
    load,
    rows(name, ids) {
      const table = load(name)
      checkRows(find(infos, name), ids)
      return scope(() => indexSelect(table, 0, tensor(ids, [ids.length], 'u32')))
    },
    slice(name, start, end) {
      if (start < end) checkRows(find(infos, name), Uint32Array.of(end - 1))
      return load(name).slice(0, start, end)
    },
    close: () => {},
  }
}
