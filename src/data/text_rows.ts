/** Texts, with or without labels, from text files, JSON lines and Parquet. */
import { extname } from 'node:path'
import { isJsonLines, jsonRows, wrongRow } from '../formats/json_lines.ts'
import { parquetRows } from '../formats/parquet.ts'
import { checkTexts, wholeText } from '../formats/text_file.ts'
import { FormatError, OptionError, printable } from '../tensor/errors.ts'

export interface TextRow {
  text: string
  /** As it stands in the file; numbers as their digits. */
  label?: string
}

export interface TextRowsOptions {
  /** Whether every row must have a label; otherwise labels are left out. @default false */
  labelled?: boolean
}

const form = (labelled: boolean) =>
  labelled
    ? 'a row is {"text": ..., "label": ...}, the label a text or a whole number'
    : 'a row is {"text": ...}'

/**
 * The rows of files in order: of `.jsonl` and `.ndjson` one a line, of `.parquet` one a row (columns `text` and `label`), of
 * `.txt`, `.md` and names without an ending the whole text. One file's text, line or row group is in memory at a time.
 *
 * @throws FormatError naming file and row where text or label is missing, OptionError where a file cannot have labels or has
 * another ending; no file is read then.
 */
export async function* textRows(
  files: readonly string[],
  { labelled = false }: TextRowsOptions = {},
): AsyncGenerator<TextRow> {
  checkTexts(files)
  for (const file of files) checkEnding(file)
  for (const file of files) {
    if (isJsonLines(file)) {
      for (const { line, value } of jsonRows(file, form(labelled)))
        yield textRow(value, labelled, (what) => wrongRow(file, line, what, form(labelled)))
    } else if (isParquet(file)) {
      for await (const { row, values } of parquetRows(file, labelled ? ['text', 'label'] : ['text']))
        yield textRow(values, labelled, (what) => wrongParquetRow(file, row, what, labelled))
    } else {
      if (labelled)
        throw new OptionError(
          `${printable(file)}: a text file has no labels; give .jsonl or .parquet with text and label`,
        )
      yield { text: wholeText(file) }
    }
  }
}

const isParquet = (file: string) => /\.parquet$/i.test(file)

/** A pattern such as `data/**` can name images, and what is packed. */
function checkEnding(file: string): void {
  const ending = extname(file)
  if (isJsonLines(file) || isParquet(file) || /^(\.|\.txt|\.md)?$/i.test(ending)) return
  throw new OptionError(
    `${printable(file)}: texts end in .txt, .md, .jsonl, .ndjson, .parquet or nothing, this one in ${printable(ending)}; leave it out, unpack it, or name a plain text .txt`,
    { code: 'PARE_E_TEXT_KIND', facts: { path: file, ending } },
  )
}

function wrongParquetRow(file: string, row: number, what: string, labelled: boolean): FormatError {
  return new FormatError(`${printable(file)}: row ${row} ${what}; ${form(labelled)}`, {
    code: 'PARE_E_ROW',
    facts: { path: file, row },
  })
}

function textRow(value: unknown, labelled: boolean, wrong: (what: string) => FormatError): TextRow {
  const { text, label } = (value ?? {}) as { text?: unknown; label?: unknown }
  if (typeof text !== 'string') throw wrong('has no text')
  if (!labelled) return { text }
  if (typeof label === 'string' && label !== '') return { text, label }
  if (typeof label === 'bigint' || Number.isSafeInteger(label)) return { text, label: String(label) }
  throw wrong('has no label')
}

export interface LabelledTexts {
  texts: string[]
  /** Class of each text. */
  labels: Uint32Array
  /** Names of the classes, numbers by size and before others by their characters. */
  classes: string[]
}

/**
 * All rows of the files with their classes. `classes` are those of the training set, where they must be the same.
 *
 * @throws OptionError for no rows; FormatError for a label that `classes` does not have, naming the row.
 */
export async function labelledTexts(
  files: readonly string[],
  { classes }: { classes?: readonly string[] } = {},
): Promise<LabelledTexts> {
  const rows: TextRow[] = []
  for await (const row of textRows(files, { labelled: true })) rows.push(row)
  const names = files.map((file) => printable(file)).join(', ')
  if (rows.length === 0)
    throw new OptionError(`${names}: has no rows; give labelled texts`, { code: 'PARE_E_EMPTY_DATA' })
  const all = classes ? [...classes] : [...new Set(rows.map(({ label }) => label!))].sort(byNumberThenText)
  const numbers = new Map(all.map((label, index) => [label, index]))
  const labels = Uint32Array.from(rows, ({ label }, index) => {
    const number = numbers.get(label!)
    if (number !== undefined) return number
    throw new FormatError(
      `${names}: row ${index} (from 0, over all files) has label ${printable(label!)}, the classes are ${printable(all.join(', '))}`,
      { code: 'PARE_E_LABEL', facts: { row: index } },
    )
  })
  return { texts: rows.map(({ text }) => text), labels, classes: all }
}

function byNumberThenText(a: string, b: string): number {
  const [isA, isB] = [a, b].map((text) => /^-?\d+$/.test(text))
  if (isA && isB) return Number(a) - Number(b)
  if (isA !== isB) return isA ? -1 : 1
  return a < b ? -1 : a > b ? 1 : 0
}
