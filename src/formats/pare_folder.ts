/** The description of compressed weights in a Pare folder (pare.json); codes are packed as `bit_stream.ts` does. */
import { FormatError, printable } from '../tensor/errors.ts'

/** Later versions of Pare read it. */
export const pareFolderVersion = 1

/** How one weight is put together. */
export type PareWeight =
  | {
      kind: 'grid'
      shape: [number, number]
      bits: 2 | 3 | 4 | 8
      groupSize: number | 'row'
      symmetric: boolean
      scaleType: 'f16' | 'f32'
    }
  | { kind: 'blocks'; shape: [number, number]; type: string }

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
  if (format !== 'pare' || version !== pareFolderVersion) {
    throw wrong(
      `needs format pare, version ${pareFolderVersion}, got ${printable(String(format))}, ${printable(String(version))}; the folder is damaged`,
    )
  }
  if (typeof weights !== 'object' || weights === null) throw wrong('has no weights')
  const result = new Map<string, PareWeight>()
  for (const [name, weight] of Object.entries(weights as Record<string, PareWeight>)) {
    const sizes =
      Array.isArray(weight?.shape) &&
      weight.shape.length === 2 &&
      weight.shape.every((n) => Number.isSafeInteger(n) && n > 0)
    const fits =
      weight?.kind === 'blocks'
        ? typeof weight.type === 'string'
        : weight?.kind === 'grid' &&
          [2, 3, 4, 8].includes(weight.bits) &&
          (weight.groupSize === 'row' || (Number.isSafeInteger(weight.groupSize) && weight.groupSize > 0)) &&
          typeof weight.symmetric === 'boolean' &&
          (weight.scaleType === 'f16' || weight.scaleType === 'f32')
    if (!sizes || !fits)
      throw wrong(`does not say how ${printable(name)} is put together; the folder is damaged`)
    result.set(name, weight)
  }
  return result
}
