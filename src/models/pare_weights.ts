/** Weights of a Pare folder, as numbers or as the grid values they are stored as. */
import type { TensorArchive, TensorEntry } from '../formats/archive.ts'
import { rowWords, unpackRows } from '../formats/bit_stream.ts'
import type { PareWeight } from '../formats/pare_folder.ts'
import { isBlockType, rowBytes } from '../nn/block_types.ts'
import { affineGrid, decodeValues, gridName, neighbourGroups, type Values } from '../nn/grid.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { fromBytes, scope, tensor } from '../tensor/index.ts'
import { checkRows, loadFloatRows, loadFloatSlice, loadFloats } from './decode_rows.ts'
import { find } from './gguf_weights.ts'
import type { ModelWeights, WeightInfo } from './model_weights.ts'

const suffixes = ['codes', 'scales', 'zeros', 'group_of', 'blocks']

export function pareWeights(
  archive: TensorArchive,
  described: ReadonlyMap<string, PareWeight>,
  fileBytes: number,
): ModelWeights {
  const infos = new Map<string, WeightInfo>()
  for (const entry of archive.tensors.values()) {
    const stem = suffixes.map((suffix) => `.${suffix}`).find((ending) => entry.name.endsWith(ending))
    if (!stem)
      infos.set(entry.name, { name: entry.name, shape: entry.shape, type: entry.type, bytes: entry.bytes })
  }
  for (const [name, weight] of described) {
    const bytes = suffixes.reduce(
      (sum, suffix) => sum + (archive.tensors.get(`${name}.${suffix}`)?.bytes ?? 0),
      0,
    )
    const type = weight.kind === 'blocks' ? weight.type : gridName(gridOf(weight))
    infos.set(name, { name, shape: weight.shape, type, bytes })
  }
  return {
    infos,
    fileBytes,
    load(name) {
      const info = find(infos, name)
      const weight = described.get(name)
      return weight
        ? scope(() => decodeValues(readValues(archive, name, weight, 0, weight.shape[0])))
        : loadFloats(archive, info)
    },
    rows(name, ids) {
      const info = find(infos, name)
      const weight = described.get(name)
      if (!weight) return loadFloatRows(archive, info, ids)
      checkRows(info, ids)
      return scope(() => {
        const columns = weight.shape[1]
        const all = new Float32Array(ids.length * columns)
        for (const [i, id] of ids.entries()) {
          const row = decodeValues(readValues(archive, name, weight, id, id + 1))
          all.set(row.toArray() as Float32Array, i * columns)
        }
        return tensor(all, [ids.length, columns])
      })
    },
    slice(name, start, end) {
      const info = find(infos, name)
      const weight = described.get(name)
      return weight
        ? scope(() => decodeValues(readValues(archive, name, weight, start, end)))
        : loadFloatSlice(archive, info, start, end)
    },
    close: () => archive.close(),
  }
}

const gridOf = ({ bits, groupSize, symmetric, scaleType }: PareWeight & { kind: 'grid' }) =>
  affineGrid({ bits, groupSize, symmetric, scaleType })

/** Rows `start` to `end` of a tensor, after its type and shape were checked. */
function part(
  archive: TensorArchive,
  name: string,
  type: string,
  shape: readonly number[],
  start: number,
  end: number,
): Uint8Array {
  const entry: TensorEntry | undefined = archive.tensors.get(name)
  const fits =
    entry?.type === type && entry.shape.length === shape.length && shape.every((n, i) => n === entry.shape[i])
  if (fits) return archive.readRows(name, start, end)
  const found = entry ? `${entry.type} [${entry.shape.join(', ')}]` : 'nothing'
  throw new FormatError(
    `${printable(name)}: needs ${type} [${shape.join(', ')}], the folder has ${found}; it is damaged`,
    {
      code: 'PARE_E_PARE_FOLDER',
      facts: { tensor: name, found },
    },
  )
}

const words = (bytes: Uint8Array) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)

function readValues(
  archive: TensorArchive,
  name: string,
  weight: PareWeight,
  start: number,
  end: number,
): Values {
  const [rows, columns] = weight.shape
  const count = end - start
  if (weight.kind === 'blocks') {
    const { type } = weight
    if (!isBlockType(type))
      throw new FormatError(`pare.json: ${printable(name)} has the unknown block type ${printable(type)}`)
    const bytes = part(archive, `${name}.blocks`, 'U8', [rows, rowBytes(type, columns)], start, end)
    return {
      kind: 'blocks',
      type,
      shape: [count, columns],
      bytes: fromBytes(bytes, [count, rowBytes(type, columns)], 'u8'),
    }
  }
  const { bits, symmetric, scaleType } = weight
  const grid = gridOf(weight)
  const width = weight.groupSize === 'row' ? columns : Math.min(weight.groupSize, columns)
  const groups = Math.ceil(columns / width)
  const codes = unpackRows(
    words(part(archive, `${name}.codes`, 'U32', [rows, rowWords(columns, bits)], start, end)),
    count,
    columns,
    bits,
  )
  const scales = part(
    archive,
    `${name}.scales`,
    scaleType === 'f16' ? 'F16' : 'F32',
    [rows, groups],
    start,
    end,
  )
  const zeros = symmetric
    ? new Uint8Array(count * groups).fill(2 ** (bits - 1))
    : unpackRows(
        words(part(archive, `${name}.zeros`, 'U32', [rows, rowWords(groups, bits)], start, end)),
        count,
        groups,
        bits,
      )
  const groupOf = archive.tensors.has(`${name}.group_of`)
    ? words(part(archive, `${name}.group_of`, 'I32', [columns], 0, columns))
    : neighbourGroups(columns, width)
  if (groupOf.some((group) => group >= groups)) {
    throw new FormatError(
      `${printable(name)}.group_of: names a group past the last of ${groups}; the folder is damaged`,
    )
  }
  return {
    kind: 'grid',
    grid,
    codes: tensor(codes, [count, columns], 'u8'),
    scales: fromBytes(scales, [count, groups], scaleType).cast('f32'),
    zeros: tensor(zeros, [count, groups], 'u8'),
    groupOf,
  }
}
