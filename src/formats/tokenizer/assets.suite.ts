/** Real models for tests: the folder that PARE_ASSETS names; tests that need it are skipped without it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { gguf } from '@huggingface/gguf'
import type { GgufMetadata } from './gguf_values.ts'

export const assets = process.env.PARE_ASSETS

/** The path of an asset, or undefined with the reason on stderr. */
export function asset(...parts: string[]): string | undefined {
  const path = assets === undefined ? undefined : join(assets, ...parts)
  if (path !== undefined && existsSync(path)) return path
  const reason = assets === undefined ? 'PARE_ASSETS is not set' : 'PARE_ASSETS does not hold it'
  process.stderr.write(`skipped: ${parts.join('/')} is needed, ${reason}\n`)
  return undefined
}

export const smollm2 = 'models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'

const typeNames = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
]

/** Metadata of a GGUF file, read by another program. */
export async function readGgufMetadata(path: string): Promise<GgufMetadata> {
  const { typedMetadata } = await gguf(path, { allowLocalFile: true, typedMetadata: true })
  return new Map(
    Object.entries(
      typedMetadata as unknown as Record<string, { type: number; subType?: number; value: unknown }>,
    ).map(([key, { type, subType, value }]) => [
      key,
      {
        type: typeNames[type]!,
        ...(subType !== undefined && { element: typeNames[subType]! }),
        value,
      },
    ]),
  )
}
