/** JSON lines: one value a row, blank rows left out. */
import { FormatError, printable } from '../tensor/errors.ts'
import { readLines } from './text_file.ts'

/** Whether the name of a file says that it is one. */
export const isJsonLines = (file: string): boolean => /\.(jsonl|ndjson)$/i.test(file)

export interface JsonRow {
  /** From 1, counting blank rows. */
  line: number
  value: unknown
}

/**
 * The rows of a file; one is in memory at a time. `form` says in messages what a row should be.
 *
 * @throws FormatError (PARE_E_ROW) naming the file and the line that is no JSON, SourceError for an unreadable file.
 * @example for (const { line, value } of jsonRows('texts.jsonl', 'a row is {"text": ...}')) use(value)
 */
export function* jsonRows(file: string, form: string): Generator<JsonRow> {
  let line = 0
  for (const text of readLines(file)) {
    line += 1
    if (text.trim() === '') continue
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      throw wrongRow(file, line, 'is no JSON', form)
    }
    yield { line, value }
  }
}

/** A row that cannot be used; `what` continues `line 3 ...`. */
export const wrongRow = (file: string, line: number, what: string, form: string): FormatError =>
  new FormatError(`${printable(file)}: line ${line} ${what}; ${form}`, {
    code: 'PARE_E_ROW',
    facts: { path: file, line },
  })
