/** The description of compressed weights in a Pare folder (pare.json); codes are packed as `bit_stream.ts` does. */
import { FormatError, printable } from '../tensor/errors.ts'
import {
  faultOf,
  fitsVersion1,
  isVersion1,
  isVersion2,
  isVersion3,
  isVersion4,
  type PareWeight,
} from './pare_weight.ts'

/** Later versions of Pare read it, and what was before. */
export const pareFolderVersion = 5

/** Checks what pare.json says. @throws FormatError for a newer version or a field that is not understood. */
export function readPareJson(value: unknown): Map<string, PareWeight> {
  const wrong = (what: string) => new FormatError(`pare.json: ${what}`, { code: 'PARE_E_PARE_FOLDER' })
  const { format, version, weights } = (value ?? {}) as Record<string, unknown>
  if (format === 'pare' && Number.isSafeInteger(version) && (version as number) > pareFolderVersion) {
    throw new FormatError(
      `pare.json: has version ${version} of Pare folders, and this Pare reads up to ${pareFolderVersion}; use a newer Pare`,
      { code: 'PARE_E_NEWER_FILE', facts: { version: version as number } },
    )
  }
  if (format !== 'pare' || !Number.isSafeInteger(version) || (version as number) < 1) {
    throw wrong(
      `needs format pare, version 1 to ${pareFolderVersion}, got ${printable(String(format))}, ${printable(String(version))}; the folder is damaged`,
    )
  }
  if (typeof weights !== 'object' || weights === null) throw wrong('has no weights')
  const result = new Map<string, PareWeight>()
  for (const [name, weight] of Object.entries(weights as Record<string, PareWeight>)) {
    const fault = version === 1 ? (fitsVersion1(weight) ? undefined : name) : faultOf(name, weight)
    if (fault !== undefined)
      throw wrong(`does not say how ${printable(fault)} is put together; the folder is damaged`)
    result.set(name, weight)
  }
  return result
}

/** What pare.json says: of the first version that can say it, so that older Pares open the folder too. */
export function pareJson(weights: ReadonlyMap<string, PareWeight>): Record<string, unknown> {
  const old = [...weights.values()].every(isVersion1)
  const described = [...weights].map(([name, weight]) => {
    if (!old || weight.kind !== 'grid') return [name, weight]
    const { sorted: _, ...rest } = weight
    return [name, rest]
  })
  const all = (can: (weight: PareWeight) => boolean) => [...weights.values()].every(can)
  const version = old
    ? 1
    : all(isVersion2)
      ? 2
      : all(isVersion3)
        ? 3
        : all(isVersion4)
          ? 4
          : pareFolderVersion
  return { format: 'pare', version, weights: Object.fromEntries(described) }
}
