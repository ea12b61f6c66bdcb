/**
 * Texts for language models: documents become one stream of tokens, and examples are windows of it.
 *
 *   stream     d1 E d2 E d3        tokens of the documents, E = end of text
 *   window i   length + 1 tokens from i * length on; inputs are all but the last, labels all but the first
 *
 * So every token but the first is a label once. What is left behind the last whole window, fewer than `length` tokens, is
 * in no window.
 */
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { type Examples, fingerprintOf } from '../optim/examples.ts'
import { OptionError } from '../tensor/errors.ts'
import { tensor } from '../tensor/index.ts'

export interface PackOptions {
  /** Id that stands between documents. @default the first of the tokenizer's end-of-text ids */
  endOfText?: number
}

/**
 * The tokens of the documents, u32. Each is encoded for itself, in bounded memory; one without tokens adds nothing.
 * A special token written in a text becomes its id.
 *
 * @throws OptionError where no document has text, or there is no end-of-text id.
 */
export function packTokens(
  documents: Iterable<string>,
  tokenizer: Tokenizer,
  { endOfText = tokenizer.eosIds[0] }: PackOptions = {},
): Uint32Array {
  if (endOfText === undefined || tokenizer.token(endOfText) === undefined)
    throw new OptionError(
      `endOfText: an id of the tokenizer is needed, got ${endOfText ?? 'none'}; name the token that ends a text`,
    )
  const parts: Uint32Array[] = []
  for (const text of documents) {
    const stream = tokenizer.encodeStream()
    const ids = [stream.push(text), stream.end()].filter(({ length }) => length > 0)
    if (ids.length === 0) continue
    if (parts.length > 0) parts.push(Uint32Array.of(endOfText))
    parts.push(...ids)
  }
  if (parts.length === 0)
    throw new OptionError('documents: the text is empty; give documents with text in them', {
      code: 'PARE_E_EMPTY_TEXT',
    })
  return joined(parts)
}

function joined(parts: readonly Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

export interface WindowOptions {
  /** Tokens of the inputs of a window. */
  length: number
  /** How messages call the data. @default 'text' */
  name?: string
  /** Way out in the message on too little text. @default 'give more text or a smaller length' */
  wayOut?: string
}

/**
 * Windows of a stream of tokens; the id of a window is its place in the stream. The stream is not copied.
 *
 * @throws OptionError where the stream is shorter than one window.
 */
export function tokenWindows(
  tokens: Uint32Array,
  { length, name = 'text', wayOut = 'give more text or a smaller length' }: WindowOptions,
): Examples {
  if (!(Number.isInteger(length) && length >= 1))
    throw new OptionError(`length: a whole number from 1 on is needed, got ${length}`)
  const count = Math.floor((tokens.length - 1) / length)
  if (count < 1)
    throw new OptionError(
      `${name}: one window needs ${length + 1} tokens, the text has ${tokens.length}; ${wayOut}`,
      { code: 'PARE_E_SHORT_TEXT', facts: { needed: length + 1, found: tokens.length } },
    )
  return {
    name,
    count,
    fingerprint: fingerprintOf('windows', String(length), tokens),
    batch(ids) {
      const inputs = new Uint32Array(ids.length * length)
      const labels = new Uint32Array(ids.length * length)
      for (const [row, id] of ids.entries()) {
        inputs.set(tokens.subarray(id * length, (id + 1) * length), row * length)
        labels.set(tokens.subarray(id * length + 1, (id + 1) * length + 1), row * length)
      }
      const shape = [ids.length, length]
      return { ids, inputs: tensor(inputs, shape, 'u32'), labels: tensor(labels, shape, 'u32') }
    },
  }
}
