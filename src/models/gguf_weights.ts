/** Weights of a llama-family GGUF file under Hugging Face names, decoded to f32, rows in Hugging Face order. */
import type { GgufArchive } from '../formats/gguf/container.ts'
import { type BlockTypeName, isBlockType, isCodedType } from '../nn/block_types.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { fromBytes, indexSelect, scope, type Tensor, tensor } from '../tensor/index.ts'
import { callNative } from '../tensor/native.ts'
import { decodeSlice, decodeTensor, gatherRows, unfilled } from './decode_rows.ts'
import type { LlamaConfig } from './llama/config.ts'
import { ggufName, ggufRowOrder, huggingFaceName, inverseOrder, rotaryHeads } from './llama/names.ts'
import type { ModelWeights, WeightInfo } from './model_weights.ts'

/** Tensors of a GGUF file that are no weights of the family's layers. */
const sideTensors = new Set(['rope_freqs.weight'])

export function ggufWeights(archive: GgufArchive, config: LlamaConfig, fileBytes: number): ModelWeights {
  const infos = new Map<string, WeightInfo>()
  for (const entry of archive.tensors.values()) {
    if (sideTensors.has(entry.name)) continue
    const name = huggingFaceName(entry.name)
    if (!name) {
      throw new FormatError(
        `${printable(entry.name)}: the ${config.architecture} family has no such tensor; Pare would lose it`,
        { code: 'PARE_E_UNKNOWN_TENSOR', facts: { tensor: entry.name } },
      )
    }
    infos.set(name, { name, shape: entry.shape, type: entry.type, bytes: entry.bytes })
  }
  const permuted = config.architecture === 'llama'
  const load = (name: string): Tensor => {
    const info = find(infos, name)
    return scope(() => {
      const decoded = decodeTensor(archive, ggufName(name)!, blockType(info), info.shape)
      if (!permuted || !rotaryHeads(name)) return decoded
      const order = inverseOrder(ggufRowOrder(info.shape[0]!, config.headSize))
      return indexSelect(decoded, 0, tensor(order, [order.length], 'u32'))
    })
  }
  return {
    infos,
    fileBytes,
    load,
    slice(name, start, end) {
      const info = find(infos, name)
      // Rows of these are not neighbours in the file.
      if (permuted && rotaryHeads(name)) return scope(() => load(name).slice(0, start, end).contiguous())
      return scope(() => decodeSlice(archive, ggufName(name)!, blockType(info), info.shape, start, end))
    },
    rows(name, ids) {
      const info = find(infos, name)
      const type = blockType(info)
      return scope(() => {
        const target = unfilled(ids.length, info.shape[1]!)
        const bytes = gatherRows(archive, info, ids, ggufName(name)!)
        callNative((native) => native.decodeBlocksInto(type, bytes, target.handle))
        return target
      })
    },
    stored(name, start = 0, end = find(infos, name).shape[0]!) {
      const { shape, bytes, type } = find(infos, name)
      if (!isCodedType(type) || shape.length !== 2) return undefined
      const [rows, columns] = shape as [number, number]
      const stored = ggufName(name)!
      const read = (first: number, last: number) =>
        fromBytes(archive.readRows(stored, first, last), [last - first, bytes / rows], 'u8')
      return scope(() => {
        const values = (block: Tensor) =>
          ({ kind: 'blocks', type, shape: [end - start, columns], bytes: block }) as const
        if (!permuted || !rotaryHeads(name)) return values(read(start, end))
        // Heads are whole in both orders: only theirs are read.
        const { headSize } = config
        const [first, last] = [
          Math.floor(start / headSize) * headSize,
          Math.min(rows, Math.ceil(end / headSize) * headSize),
        ]
        const order = inverseOrder(ggufRowOrder(last - first, headSize)).subarray(start - first, end - first)
        return values(indexSelect(read(first, last), 0, tensor(order, [order.length], 'u32')))
      })
    },
    raw(name, rows) {
      const stored = ggufName(find(infos, name).name)!
      return rows ? archive.readRows(stored, rows.start, rows.end) : archive.read(stored)
    },
    close: () => archive.close(),
  }
}

export function find(infos: ReadonlyMap<string, WeightInfo>, name: string): WeightInfo {
  const info = infos.get(name)
  if (info) return info
  throw new FormatError(`${printable(name)}: the model has no such weight`, {
    code: 'PARE_E_NO_TENSOR',
    facts: { tensor: name },
  })
}

function blockType({ name, type }: WeightInfo): BlockTypeName {
  if (isBlockType(type)) return type
  throw new FormatError(
    `${printable(name)}: Pare does not decode ${printable(type)}; requantise the model with a current llama.cpp`,
    { code: 'PARE_E_GGUF_TYPE', facts: { tensor: name, type } },
  )
}
