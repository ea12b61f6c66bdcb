/** Weights of a Pare folder that are stored as codes, as pare.json describes them. */
import type { TensorArchive } from '../../formats/archive.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { tensorsOfStored } from './pare_tensors.ts'
import { readStored } from './read_stored.ts'
import { bytesOfParts, type StoredLayer } from './stored_layer.ts'

/** @throws FormatError for an unknown block type, and for a tensor that two weights claim. */
export function pareLayers(
  archive: TensorArchive,
  described: ReadonlyMap<string, PareWeight>,
): StoredLayer[] {
  const claimed = new Map<string, string>()
  return [...described].map(([name, given]) => {
    const weight = withOrder(archive, name, given)
    const parts = tensorsOfStored(name, weight)
      .map((info) => info.name)
      .filter((part) => archive.tensors.has(part))
    for (const part of parts) {
      const other = claimed.get(part)
      if (other !== undefined)
        throw new FormatError(
          `pare.json: ${printable(part)} belongs to ${printable(other)} and to ${printable(name)}; the folder is damaged`,
          { code: 'PARE_E_PARE_FOLDER', facts: { tensor: part } },
        )
      claimed.set(part, name)
    }
    return {
      info: { name, shape: weight.shape, type: weightName(weight), bytes: bytesOfParts(archive, parts) },
      parts,
      values: (start, end) => readStored(archive, name, weight, start, end),
    }
  })
}

/** Version 1 names the groups of columns where the tensor is there. */
const withOrder = (archive: TensorArchive, name: string, weight: PareWeight): PareWeight =>
  weight.kind === 'grid' && weight.sorted === undefined
    ? { ...weight, sorted: archive.tensors.has(`${name}.group_of`) }
    : weight

/** Short name for plans and reports: `4 bits, groups of 64`, `Q3_K`, `bitmask`. */
export function weightName(weight: PareWeight): string {
  if (weight.kind === 'blocks') return weight.type
  if (weight.kind !== 'grid' && weight.kind !== 'offset' && weight.kind !== 'masked_grid')
    return weight.kind.replace('_', ' ')
  const { bits, groupSize, kind } = weight
  return [
    `${bits} bits`,
    groupSize === 'row' ? 'one group a row' : `groups of ${groupSize}`,
    ...(kind !== 'offset' && weight.symmetric ? ['symmetric'] : []),
    ...(kind === 'offset' ? ['with offsets'] : []),
    ...(kind === 'masked_grid' ? ['with a mask'] : []),
  ].join(', ')
}
