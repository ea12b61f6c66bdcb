/** Weights of a Pare folder that are stored as codes, as pare.json describes them. */
import type { TensorArchive } from '../../formats/archive.ts'
import { rowWords, unpackRows } from '../../formats/bit_stream.ts'
import type { PareWeight } from '../../formats/pare_folder.ts'
import { isBlockType, rowBytes } from '../../nn/block_types.ts'
import { gridName, neighbourGroups, type Values } from '../../nn/grid.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { fromBytes, tensor } from '../../tensor/index.ts'
import { bytesOfParts, type PartNeed, readPart, type StoredLayer, unsignedWords } from './stored_layer.ts'

const suffixes = ['codes', 'scales', 'zeros', 'group_of', 'blocks']

export function pareLayers(
  archive: TensorArchive,
  described: ReadonlyMap<string, PareWeight>,
): StoredLayer[] {
  return [...described].map(([name, weight]) => {
    const parts = suffixes.map((suffix) => `${name}.${suffix}`).filter((part) => archive.tensors.has(part))
    const type =
      weight.kind === 'blocks'
        ? weight.type
        : gridName({ ...weight, kind: 'affine', search: false, zeroLow: 0 })
    return {
      info: { name, shape: weight.shape, type, bytes: bytesOfParts(archive, parts) },
      parts,
      values: (start, end) => readValues(archive, name, weight, start, end),
    }
  })
}

function readValues(
  archive: TensorArchive,
  name: string,
  weight: PareWeight,
  start: number,
  end: number,
): Values {
  const [rows, columns] = weight.shape
  const count = end - start
  const need = (type: string, ...shape: number[]): PartNeed => ({
    types: [type],
    shape,
    code: 'PARE_E_PARE_FOLDER',
  })
  const part = (suffix: string, type: string, width: number) =>
    readPart(archive, `${name}.${suffix}`, need(type, rows, width), [start, end])
  if (weight.kind === 'blocks') {
    const { type } = weight
    if (!isBlockType(type))
      throw new FormatError(`pare.json: ${printable(name)} has the unknown block type ${printable(type)}`)
    const width = rowBytes(type, columns)
    const bytes = fromBytes(part('blocks', 'U8', width), [count, width], 'u8')
    return { kind: 'blocks', type, shape: [count, columns], bytes }
  }
  const { bits, groupSize, symmetric, scaleType } = weight
  const width = groupSize === 'row' ? columns : Math.min(groupSize, columns)
  const groups = Math.ceil(columns / width)
  const unpacked = (suffix: string, of: number) =>
    unpackRows(unsignedWords(part(suffix, 'U32', rowWords(of, bits))), count, of, bits)
  const codes = unpacked('codes', columns)
  const scales = part('scales', scaleType === 'f16' ? 'F16' : 'F32', groups)
  const zeros = symmetric ? new Uint8Array(count * groups).fill(2 ** (bits - 1)) : unpacked('zeros', groups)
  const groupOf = archive.tensors.has(`${name}.group_of`)
    ? unsignedWords(readPart(archive, `${name}.group_of`, need('I32', columns)))
    : neighbourGroups(columns, width)
  if (groupOf.some((group) => group >= groups)) {
    throw new FormatError(
      `${printable(name)}.group_of: names a group past the last of ${groups}; the folder is damaged`,
      { code: 'PARE_E_PARE_FOLDER', facts: { tensor: `${name}.group_of`, groups } },
    )
  }
  return {
    kind: 'grid',
    grid: { bits, groupSize, symmetric, scaleType },
    codes: tensor(codes, [count, columns], 'u8'),
    scales: fromBytes(scales, [count, groups], scaleType).cast('f32'),
    zeros: tensor(zeros, [count, groups], 'u8'),
    groupOf,
  }
}
