/** Calibration and evaluation text: files become one stream of tokens, and samples are windows of it. */
import { fileURLToPath } from 'node:url'
import { isJsonLines, jsonRows, wrongRow } from '../formats/json_lines.ts'
import { checkTexts, readText } from '../formats/text_file.ts'
import {
  type ChatMessage,
  type ChatTemplateSources,
  modelChatTemplate,
} from '../formats/tokenizer/chat_template.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { randomStream, scope } from '../tensor/index.ts'

/** Where the texts that come with Pare lie; each about 100 kB, public domain. */
const shipped = (name: string) =>
  fileURLToPath(new URL(`../../src/calibrate/text/${name}.txt`, import.meta.url))
export const defaultCalibrationText = (): string => shipped('calibration')
export const defaultEvaluationText = (): string => shipped('evaluation')

export interface TextSource {
  tokenizer: Tokenizer
  chatTemplates: ChatTemplateSources
}

export interface ReadOptions {
  /** Reading ends where there are so many; the tokens are the first ones of the text. @default all */
  tokens?: number
}

/**
 * The tokens of some files, joined by two newlines and encoded as one text, without BOS. JSON lines hold `text`, or
 * `messages`, which go through the model's own chat template; their rows are joined likewise. No more than some
 * hundred kilobytes of text, or one row, are in memory at a time.
 *
 * @throws OptionError for an empty text, FormatError for a line that is neither.
 */
export function readTokens(
  files: readonly string[],
  { tokenizer, chatTemplates }: TextSource,
  { tokens: most = Number.POSITIVE_INFINITY }: ReadOptions = {},
): Uint32Array {
  checkTexts(files)
  const stream = tokenizer.encodeStream()
  const parts: Uint32Array[] = []
  let count = 0
  const add = (ids: Uint32Array) => {
    if (ids.length > 0) parts.push(ids)
    count += ids.length
  }
  for (const text of readTexts(files, { tokenizer, chatTemplates })) {
    add(stream.push(text))
    if (count >= most) break
  }
  if (count < most) add(stream.end())
  if (count === 0) {
    throw new OptionError(
      `${files.map((f) => printable(f)).join(', ')}: the text is empty; give a file with text in it`,
      {
        code: 'PARE_E_EMPTY_TEXT',
        facts: { files },
      },
    )
  }
  return joined(parts, Math.min(count, most))
}

function joined(parts: readonly Uint32Array[], length: number): Uint32Array {
  const ids = new Uint32Array(length)
  let at = 0
  for (const part of parts) {
    ids.set(part.subarray(0, length - at), at)
    at += part.length
  }
  return ids
}

/** The text of some files in pieces, as `readTokens` encodes it. */
export function* readTexts(
  files: readonly string[],
  { tokenizer, chatTemplates }: TextSource,
): Generator<string> {
  for (const [index, file] of files.entries()) {
    if (index > 0) yield '\n\n'
    if (isJsonLines(file)) yield* readRows(file, tokenizer, chatTemplates)
    else yield* readText(file)
  }
}

const rowForm = 'a row is {"text": ...} or {"messages": [...]}'

function* readRows(file: string, tokenizer: Tokenizer, templates: ChatTemplateSources): Generator<string> {
  let first = true
  for (const { line, value } of jsonRows(file, rowForm)) {
    if (!first) yield '\n\n'
    first = false
    const row = value as { text?: unknown; messages?: unknown } | null
    if (typeof row?.text === 'string') yield row.text
    else if (Array.isArray(row?.messages))
      yield modelChatTemplate(templates, tokenizer).render(row.messages as ChatMessage[])
    else throw wrongRow(file, line, 'has neither text nor messages', rowForm)
  }
}

export interface SampleOptions {
  /** @default 40 */
  samples?: number
  /** Tokens a sample. @default 512 */
  length?: number
  /** @default 0 */
  seed?: number
}

export interface Samples {
  samples: Uint32Array[]
  /** Why there are fewer than asked for. */
  note?: string
}

/**
 * Windows of the text that do not overlap, drawn without repetition by the seed.
 *
 * @throws OptionError where the text is shorter than one sample.
 */
export function drawSamples(
  tokens: Uint32Array,
  { samples = 40, length = 512, seed = 0 }: SampleOptions = {},
): Samples {
  for (const [name, value] of [
    ['--samples', samples],
    ['--length', length],
  ] as const) {
    if (!Number.isInteger(value) || value < 1)
      throw new OptionError(`${name}: a whole number from 1 on is needed, got ${value}`)
  }
  const count = Math.floor(tokens.length / length)
  if (count === 0) {
    throw new OptionError(
      `calibration: one sample needs ${length} tokens, the text has ${tokens.length}; give more text or a smaller --length`,
      { code: 'PARE_E_SHORT_TEXT', facts: { needed: length, found: tokens.length } },
    )
  }
  const order = scope(() => randomStream(seed, 'calibration').permutation(count).toArray())
  const chosen = Array.from(order, Number).slice(0, samples)
  return {
    samples: chosen.map((index) => tokens.slice(index * length, (index + 1) * length)),
    ...(count < samples ? { note: `the text holds ${count} of the ${samples} samples asked for` } : {}),
  }
}
