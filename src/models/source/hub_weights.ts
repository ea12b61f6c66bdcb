/** Which files of a repository hold the weights of a model, and whether a snapshot has what its model needs. */
import { readFile } from 'node:fs/promises'
import { FormatError, printable, SourceError } from '../../tensor/errors.ts'
import type { ModelCandidate } from './candidates.ts'

/**
 * The weight files a reader would open: `model.safetensors`, else the shards of its index, else every
 * safetensors. Repositories often carry the same weights in a second layout.
 *
 * @param files all names of the repository
 * @param placeOf where a file of the repository, the index, stands on this disk
 * @throws SourceError `PARE_E_HUB_INCOMPLETE` if a shard is not in the repository; FormatError for an index that is none
 */
export async function weightFiles(
  { kind, path, weights }: ModelCandidate,
  files: readonly string[],
  subject: string,
  placeOf: (file: string) => string,
): Promise<string[]> {
  const inside = (file: string) => (path === '' ? file : `${path}/${file}`)
  const [single, index] = [inside('model.safetensors'), inside('model.safetensors.index.json')]
  if (kind === 'gguf') return completeShards(weights, subject)
  if (weights.includes(single)) return [single]
  if (!files.includes(index)) return weights
  let shards: unknown[]
  try {
    const text = await readFile(placeOf(index), 'utf8')
    shards = Object.values((JSON.parse(text) as { weight_map: Record<string, unknown> }).weight_map)
  } catch (error) {
    throw new FormatError(
      `${subject}: ${printable(index)} must hold a weight_map, it does not; use another revision`,
      {
        code: 'PARE_E_FORMAT',
        facts: { source: subject, file: index },
        cause: error,
      },
    )
  }
  const names = [...new Set(shards)].map((shard) => inside(String(shard))).sort()
  const missing = names.find((name) => !weights.includes(name))
  if (missing === undefined && names.length > 0) return names
  throw incomplete(subject, missing ?? 'any weights')
}

/** @throws SourceError unless every shard from 1 to the count in the names is there */
function completeShards(weights: readonly string[], subject: string): string[] {
  const count = Number(/-of-(\d{5})\.gguf$/i.exec(weights[0]!)?.[1] ?? 1)
  if (count === weights.length) return [...weights]
  throw incomplete(subject, `${count - weights.length} of ${count} shards`)
}

function incomplete(subject: string, missing: string): SourceError {
  return new SourceError(
    `${subject}: ${printable(missing)} must be in the repository, it is not; use another revision`,
    {
      code: 'PARE_E_HUB_INCOMPLETE',
      facts: { source: subject, missing: printable(missing) },
    },
  )
}

/** A tokenizer that is announced by its settings must have its vocabulary. */
export function hasTokenizer(present: ReadonlySet<string>, { kind, path }: ModelCandidate): boolean {
  const inside = (file: string) => present.has(path === '' ? file : `${path}/${file}`)
  if (kind === 'gguf' || !inside('tokenizer_config.json')) return true
  return ['tokenizer.json', 'tokenizer.model', 'vocab.json', 'vocab.txt', 'spiece.model'].some(inside)
}
