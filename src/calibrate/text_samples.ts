/** Calibration and evaluation text: files become one stream of tokens, and samples are windows of it. */
import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import {
  type ChatMessage,
  type ChatTemplateSources,
  modelChatTemplate,
} from '../formats/tokenizer/chat_template.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { FormatError, OptionError, printable, SourceError } from '../tensor/errors.ts'
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
  for (const text of readTexts(files, tokenizer, chatTemplates)) {
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

function* readTexts(
  files: readonly string[],
  tokenizer: Tokenizer,
  templates: ChatTemplateSources,
): Generator<string> {
  for (const [index, file] of files.entries()) {
    if (index > 0) yield '\n\n'
    if (/\.jsonl$/i.test(file)) yield* readRows(file, tokenizer, templates)
    else yield* readText(file)
  }
}

/** @throws SourceError for the first file that cannot be read; none is opened. */
export function checkTexts(files: readonly string[]): void {
  for (const file of files) checkFile(file)
}

/** A pipe is read as well; a device may have no end. */
function checkFile(file: string): void {
  try {
    const status = statSync(file)
    if (status.isDirectory()) throw Object.assign(new Error('a folder'), { code: 'EISDIR' })
    if (!status.isFile() && !status.isFIFO()) throw Object.assign(new Error('a device'), { code: 'no file' })
    accessSync(file, constants.R_OK)
  } catch (cause) {
    throw cannotRead(file, cause)
  }
}

function cannotRead(file: string, cause: unknown): SourceError {
  const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
  return new SourceError(`${printable(file)}: cannot be read (${reason}); check the path`, {
    code: 'PARE_E_CANNOT_READ',
    facts: { path: file, reason },
    cause,
  })
}

/** Bytes of a file in memory at a time. */
const PIECE = 1 << 16

/** Bytes of the longest text file that is read. */
const LONGEST_FILE = 2 ** 30

/** The text of a file in pieces; bytes that are no UTF-8 become U+FFFD. */
function* readText(file: string): Generator<string> {
  let descriptor: number | undefined
  try {
    const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
    const bytes = new Uint8Array(PIECE)
    descriptor = openSync(file, 'r')
    let total = 0
    for (let count = -1; count !== 0; ) {
      count = readSync(descriptor, bytes)
      total += count
      if (total > LONGEST_FILE)
        throw new OptionError(
          `${printable(file)}: has more than ${LONGEST_FILE} bytes, as many are read; cut it`,
        )
      const text = utf8.decode(bytes.subarray(0, count), { stream: count > 0 })
      if (text !== '') yield text
    }
  } catch (cause) {
    throw (cause as NodeJS.ErrnoException).syscall === undefined ? cause : cannotRead(file, cause)
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

/** Longest row that is read, in UTF-16 units. */
const LONGEST_ROW = 2 ** 23

function* readLines(file: string): Generator<string> {
  let parts: string[] = []
  let length = 0
  for (const text of readText(file)) {
    const [first, ...more] = text.split('\n')
    for (const [index, part] of [first!, ...more].entries()) {
      if (index > 0) {
        yield parts.join('')
        parts = []
        length = 0
      }
      parts.push(part)
      length += part.length
      if (length > LONGEST_ROW)
        throw new OptionError(
          `${printable(file)}: has a row of more than ${LONGEST_ROW} characters; split it into several`,
        )
    }
  }
  yield parts.join('')
}

function* readRows(file: string, tokenizer: Tokenizer, templates: ChatTemplateSources): Generator<string> {
  let line = 0
  let first = true
  for (const row of readLines(file)) {
    line += 1
    if (row.trim() === '') continue
    if (!first) yield '\n\n'
    first = false
    yield textOfRow(row, { file, line, tokenizer, templates })
  }
}

interface RowPlace {
  file: string
  line: number
  tokenizer: Tokenizer
  templates: ChatTemplateSources
}

function textOfRow(text: string, { file, line, tokenizer, templates }: RowPlace): string {
  const wrong = (what: string) =>
    new FormatError(
      `${printable(file)}: line ${line} ${what}; a row is {"text": ...} or {"messages": [...]}`,
      {
        code: 'PARE_E_ROW',
        facts: { path: file, line },
      },
    )
  let row: { text?: unknown; messages?: unknown }
  try {
    row = JSON.parse(text)
  } catch {
    throw wrong('is no JSON')
  }
  if (typeof row?.text === 'string') return row.text
  if (Array.isArray(row?.messages))
    return modelChatTemplate(templates, tokenizer).render(row.messages as ChatMessage[])
  throw wrong('has neither text nor messages')
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
