/**
 * What was measured of a source model: one line of JSON for each weight and level, in a file for each source below
 * Pare's cache folder.
 *
 *   CACHE/sensitivities/SHA256_OF_SOURCE.jsonl
 *   {"key":"...","weight":"...","level":"4","kl":0.0012,"standardError":0.0002}
 *   {"key":"...","weight":"...","level":"4","relativeError":0.01,"energy":12.5}
 *
 * `key` names everything that the result depends on (sensitivityKey). Lines are added at the end, all of a stage at once,
 * and flushed. Whatever is no such line (one that was cut when a process ended, one of another program) is left out, and
 * what it told of is measured again. To measure all again, remove the file.
 */
import { accessSync, closeSync, constants, existsSync, fstatSync, openSync, readSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { disk } from '../../formats/disk.ts'
import { writeFailure } from '../../formats/output.ts'
import { permissionError } from '../../models/source/cache.ts'
import { printable, StateError } from '../../tensor/errors.ts'

const base = {
  key: z.string().regex(/^[0-9a-f]{64}$/),
  weight: z.string().max(4096),
  level: z.string().max(64),
}
/** Far beyond what f32 can measure, and small enough for sums of products. */
const LARGEST = 1e100
const size = z.number().min(0).max(LARGEST)
const line = z.union([
  z.strictObject({
    ...base,
    kl: z.number().min(-LARGEST).max(LARGEST),
    standardError: size.optional(),
  }),
  z.strictObject({ ...base, relativeError: size, energy: size }),
])
export type SensitivityRow = z.infer<typeof line>

/** More than any model has lines for some thousand mixes. */
const LONGEST = 256 << 20

export class SensitivityCache {
  readonly path: string
  private readonly rows = new Map<string, SensitivityRow>()

  /** @throws StateError for a file that is too long to be one. */
  constructor(cacheFolder: string, sourceHash: string) {
    this.path = join(cacheFolder, 'sensitivities', `${sourceHash}.jsonl`)
    for (const text of this.read().split('\n')) {
      const row = parse(text)
      if (row) this.rows.set(row.key, row)
    }
  }

  /** What was measured of a weight and level; nothing where the line is about another one. */
  find(key: string, weight: string, level: string): SensitivityRow | undefined {
    const row = this.rows.get(key)
    return row?.weight === weight && row.level === level ? row : undefined
  }

  /** Adds lines; they are on the disk when it returns. @throws SourceError where the cache cannot be written. */
  add(rows: readonly SensitivityRow[]): void {
    if (rows.length === 0) return
    const text = rows.map((row) => `${JSON.stringify(row)}\n`).join('')
    let size = 0
    try {
      const made = !existsSync(this.path)
      disk().makeFolder(this.folder)
      const descriptor = disk().openToAppend(this.path)
      try {
        size = fstatSync(descriptor).size
        // One write: another process may add lines too. It ends what a killed process left of a line.
        disk().write(descriptor, new TextEncoder().encode(this.endsWhole() ? text : `\n${text}`))
        disk().syncFile(descriptor)
      } finally {
        disk().close(descriptor)
      }
      if (made) disk().syncFolder(this.folder)
    } catch (cause) {
      throw this.failure(cause, size + Buffer.byteLength(text))
    }
    for (const row of rows) this.rows.set(row.key, row)
  }

  /** The folder of the file, made where it is missing. @throws SourceError where it cannot be */
  place(): string {
    try {
      disk().makeFolder(this.folder)
      accessSync(this.folder, constants.W_OK | constants.X_OK)
    } catch (cause) {
      throw this.failure(cause, 0)
    }
    return this.folder
  }

  private get folder(): string {
    return dirname(this.path)
  }

  private failure(cause: unknown, bytes: number): unknown {
    const refused = permissionError(cause, this.folder)
    return refused === cause ? writeFailure(cause, this.path, bytes) : refused
  }

  private endsWhole(): boolean {
    const bytes = this.tail(1)
    return bytes.length === 0 || bytes[0] === 10
  }

  private read(): string {
    return new TextDecoder().decode(this.tail(LONGEST))
  }

  /** The last bytes of the file, or none where it is not there. */
  private tail(most: number): Uint8Array {
    if (!existsSync(this.path)) return new Uint8Array(0)
    const descriptor = openSync(this.path, 'r')
    try {
      const { size } = fstatSync(descriptor)
      if (size > LONGEST)
        throw new StateError(
          `${printable(this.path, 400)}: has ${size} bytes, more than any cache of sensitivities; remove it`,
          { code: 'PARE_E_CACHE', facts: { path: this.path, bytes: size } },
        )
      const bytes = new Uint8Array(Math.min(size, most))
      return bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.length, size - bytes.length))
    } finally {
      closeSync(descriptor)
    }
  }
}

function parse(text: string): SensitivityRow | undefined {
  try {
    const { success, data } = line.safeParse(JSON.parse(text))
    return success ? data : undefined
  } catch {
    return undefined
  }
}
