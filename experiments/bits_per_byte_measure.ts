/**
 * Bits that a text takes in four codes, each of which may know the training text of the zoo:
 *
 *   gzip -9    the text alone: its window of 32 KiB forgets the training text
 *   xz -9e     the text alone, and what it adds to the training text before it: size(training + text) - size(training)
 *   5-gram     -log2 p of the tokens, from counts of the training text
 *   model      -log2 p of the tokens
 *
 * The last two read the tokens of the model, each document on its own with an end of text before it, and every token of a
 * document counts. The model sees up to `context` tokens: windows move on by half of it, and the second half of each
 * counts. The size of what was learned, by counting or by training, counts nowhere, like that of the training text.
 */
import { spawnSync } from 'node:child_process'
import { gzipSync } from 'node:zlib'
import { languageMetrics } from '#src/metrics/language.ts'
import type { LanguageModel } from '#src/models/language_model.ts'
import { ResourceError } from '#src/tensor/errors.ts'
import type { NgramModel } from './kneser_ney.ts'

/** Bits of `gzip -9` without the header, which holds a name and a time in a file. */
export const gzipBits = (text: string): number => 8 * (gzipSync(text, { level: 9 }).length - GZIP_FRAME)
const GZIP_FRAME = 18

/** Bits of `xz -9e`. @throws ResourceError where the program is missing or fails */
export function xzBits(text: string): number {
  const { status, stdout, error } = spawnSync('xz', ['-9e', '--check=none', '--stdout'], {
    input: text,
    maxBuffer: 2 ** 30,
  })
  if (error || status !== 0)
    throw new ResourceError(
      `xz: the program is needed (${error?.message ?? `exit code ${status}`}); install xz-utils`,
    )
  return 8 * stdout.length
}

/** Bits of documents in the tokens of `ngramModel`; each begins with `endOfText`, which does not count. */
export function ngramBits(model: NgramModel, documents: readonly Uint32Array[], endOfText: number): number {
  let bits = 0
  for (const tokens of documents) {
    const stream = Uint32Array.of(endOfText, ...tokens)
    for (let at = 1; at < stream.length; at++)
      bits -= Math.log2(model.probability(stream.subarray(Math.max(0, at - HISTORY), at), stream[at]!))
  }
  return bits
}
/** More than any n-gram has. */
const HISTORY = 16

export interface ModelBits {
  model: LanguageModel
  documents: readonly Uint32Array[]
  endOfText: number
  /** Tokens that the model sees at most; even. */
  context: number
}

/** Bits of documents as the model predicts them; each begins with `endOfText`, which does not count. */
export async function modelBits({ model, documents, endOfText, context }: ModelBits): Promise<number> {
  let nats = 0
  for (const { windows, firstScored } of overlapping(documents, { endOfText, context })) {
    if (windows.length === 0) continue
    const { perplexity, tokens } = await languageMetrics({
      model,
      windows: { protocol: 'overlapping', windows, firstScored },
    })
    nats += Math.log(perplexity) * tokens
  }
  return nats / Math.LN2
}

/**
 * Windows that score every token of the documents once: the first of each document by all that it predicts, the others by
 * what the one before does not.
 */
export function overlapping(
  documents: readonly Uint32Array[],
  { endOfText, context }: Pick<ModelBits, 'endOfText' | 'context'>,
): readonly { windows: Uint32Array[]; firstScored: number }[] {
  const step = context / 2
  // Windows that are scored whole are averaged by window, so that each length is a group of its own.
  const first = new Map<number, Uint32Array[]>()
  const next: Uint32Array[] = []
  for (const tokens of documents) {
    const stream = Uint32Array.of(endOfText, ...tokens)
    if (stream.length < 2) continue
    const head = stream.slice(0, context)
    first.set(head.length, [...(first.get(head.length) ?? []), head])
    for (let start = step; start + step < stream.length; start += step)
      next.push(stream.slice(start, start + context))
  }
  return [
    ...[...first.values()].map((windows) => ({ windows, firstScored: 0 })),
    { windows: next, firstScored: step - 1 },
  ]
}
