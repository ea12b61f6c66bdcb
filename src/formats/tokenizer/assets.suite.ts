/** Real models for tests: the folder that PARE_ASSETS names; tests that need it are skipped without it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

export const assets = process.env.PARE_ASSETS

/**
 * The path of an asset, or undefined with the reason on stderr.
 *
 * @throws Error where PARE_NEED_ASSETS is set, as in continuous integration: there nothing may be skipped.
 */
export function asset(...parts: string[]): string | undefined {
  const path = assets === undefined ? undefined : join(assets, ...parts)
  if (path !== undefined && existsSync(path)) return path
  const reason = assets === undefined ? 'PARE_ASSETS is not set' : 'PARE_ASSETS does not hold it'
  if (process.env.PARE_NEED_ASSETS) throw new Error(`${parts.join('/')} is needed, ${reason}`)
  process.stderr.write(`skipped: ${parts.join('/')} is needed, ${reason}\n`)
  return undefined
}

export const smollm2 = 'models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
