/**
 * Changes to a file of protocol buffers that leave everything else as it was: fields that are dropped, replaced or put
 * in front of others, however deep they stand. Messages around a change get a new length; all the rest is copied.
 */
import type { ByteSource } from '../file.ts'
import { ProtobufFile } from './protobuf.ts'
import { type Span, wire } from './protobuf_fields.ts'
import { MessageWriter, type Part } from './protobuf_writer.ts'

interface Edit {
  /** Whole fields in front of the field. */
  readonly before: Part[]
  /** Whole fields instead of it; undefined keeps it. */
  replacement?: readonly Part[]
}

/** Changes by the first byte of the field they are for, which is that of no other field. */
export class FieldEdits {
  readonly #edits = new Map<number, Edit>()

  insertBefore({ start }: Span, fields: readonly Part[]): void {
    this.#at(start).before.push(...fields)
  }

  replace({ start }: Span, fields: readonly Part[]): void {
    this.#at(start).replacement = fields
  }

  drop = (field: Span): void => this.replace(field, [])

  /** The changed file; parts that are copied refer to `source`. */
  apply(source: ByteSource): Part[] {
    const starts = [...this.#edits.keys()].sort((a, b) => a - b)
    // Reading it changes nothing that its first reading did not allow.
    const file = new ProtobufFile(source)
    /** The content of a message. */
    const edited = (span: Span): Part[] => {
      const message = new MessageWriter()
      const fields = file.part(span)
      let copied = span.start
      const copyUpTo = (end: number) => {
        if (end > copied) message.append([{ start: copied, end }])
        copied = end
      }
      while (fields.next()) {
        const edit = this.#edits.get(fields.start)
        if (edit) {
          copyUpTo(fields.start)
          message.append(edit.before)
        }
        if (edit?.replacement) {
          message.append(edit.replacement)
          copied = fields.end
        } else if (fields.type === wire.bytes && hasBetween(starts, fields.start + 1, fields.end)) {
          copyUpTo(fields.start)
          message.message(fields.number, edited(fields.value()))
          copied = fields.end
        }
      }
      copyUpTo(span.end)
      return message.parts
    }
    return edited({ start: 0, end: source.size })
  }

  #at(start: number): Edit {
    const edit = this.#edits.get(start) ?? { before: [] }
    this.#edits.set(start, edit)
    return edit
  }
}

/** Whether one of the sorted numbers lies from `low` to `high`, `high` exclusive. */
function hasBetween(sorted: readonly number[], low: number, high: number): boolean {
  let [from, to] = [0, sorted.length]
  while (from < to) {
    const middle = (from + to) >> 1
    if (sorted[middle]! < low) from = middle + 1
    else to = middle
  }
  return from < sorted.length && sorted[from]! < high
}
