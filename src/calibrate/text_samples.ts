/** Calibration and evaluation text: files become one stream of tokens, and samples are windows of it. */
import { readFileSync, statSync } from 'node:fs'
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

/** Longest text file that is read. */
const LONGEST_FILE = 2 ** 30

/**
 * The tokens of some files, joined by two newlines and encoded once, without BOS. JSON lines hold `text`, or
 * `messages`, which go through the model's own chat template; their rows are joined likewise.
 *
 * @throws OptionError for an empty text, FormatError for a line that is neither.
 */
export function readTokens(files: readonly string[], { tokenizer, chatTemplates }: TextSource): Uint32Array {
  const text = files
    .map((file) => (/\.jsonl$/i.test(file) ? readRows(file, tokenizer, chatTemplates) : readText(file)))
    .join('\n\n')
  const ids = tokenizer.encode(text, { addSpecialTokens: false })
  if (ids.length === 0) {
    throw new OptionError(
      `${files.map((f) => printable(f)).join(', ')}: the text is empty; give a file with text in it`,
      {
        code: 'PARE_E_EMPTY_TEXT',
        facts: { files },
      },
    )
  }
  return ids
}

function readText(file: string): string {
  try {
    const { size } = statSync(file)
    if (size > LONGEST_FILE)
      throw new OptionError(`${printable(file)}: has ${size} bytes, at most ${LONGEST_FILE} are read; cut it`)
    return readFileSync(file, 'utf8')
  } catch (cause) {
    if (cause instanceof OptionError) throw cause
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new SourceError(`${printable(file)}: cannot be read (${reason}); check the path`, {
      code: 'PARE_E_CANNOT_READ',
      facts: { path: file, reason },
      cause,
    })
  }
}

function readRows(file: string, tokenizer: Tokenizer, templates: ChatTemplateSources): string {
  const rows = readText(file).split('\n')
  const texts = rows.flatMap((line, index) => {
    if (line.trim() === '') return []
    const wrong = (what: string) =>
      new FormatError(
        `${printable(file)}: line ${index + 1} ${what}; a row is {"text": ...} or {"messages": [...]}`,
        {
          code: 'PARE_E_ROW',
          facts: { path: file, line: index + 1 },
        },
      )
    let row: { text?: unknown; messages?: unknown }
    try {
      row = JSON.parse(line)
    } catch {
      throw wrong('is no JSON')
    }
    if (typeof row?.text === 'string') return [row.text]
    if (Array.isArray(row?.messages))
      return [modelChatTemplate(templates, tokenizer).render(row.messages as ChatMessage[])]
    throw wrong('has neither text nor messages')
  })
  return texts.join('\n\n')
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
