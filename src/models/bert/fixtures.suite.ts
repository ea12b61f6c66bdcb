/** The tiny encoders of interop/fixtures, with the states and vectors that the oracle there computes for them. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { scope } from '../../tensor/index.ts'
import { openModel } from '../load_model.ts'
import { type OpenTextEncoder, textEncoder } from '../open_model.ts'
import type { ResidentBert } from './bert.ts'

const root = fileURLToPath(new URL('../../../interop/fixtures/', import.meta.url))

export const encoders = ['bert-sentence', 'bert-head'] as const
export type EncoderName = (typeof encoders)[number]

export const encoderPath = (name: EncoderName): string => `${root}${name}`
export const openEncoder = (name: EncoderName): OpenTextEncoder => textEncoder(openModel(encoderPath(name)))

const floats = (base64: string): Float32Array =>
  new Float32Array(Uint8Array.from(Buffer.from(base64, 'base64')).buffer)

/** Texts with their ids, the states [tokens, width] of each, and their vectors [width]. */
export function expectedOf(name: EncoderName) {
  const stored = JSON.parse(readFileSync(`${encoderPath(name)}/expected.json`, 'utf8'))
  const ids: Uint32Array[] = stored.ids.map((each: number[]) => Uint32Array.from(each))
  const [hidden, vectors] = [floats(stored.hidden), floats(stored.vectors)]
  const width = vectors.length / ids.length
  let at = 0
  return {
    texts: stored.texts as string[],
    ids,
    width,
    hidden: ids.map(({ length }) => {
      at += length * width
      return hidden.slice(at - length * width, at)
    }),
    vectors: ids.map((_, i) => vectors.slice(i * width, (i + 1) * width)),
  }
}

/** What `body` returns of an encoder that is open and loaded for that long. */
export function withEncoder<T>(
  name: EncoderName,
  body: (resident: ResidentBert, open: OpenTextEncoder) => T,
): T {
  const open = openEncoder(name)
  try {
    return scope(() => body(open.model.load(), open))
  } finally {
    open.close()
  }
}
