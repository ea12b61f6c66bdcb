/** Tables: each in a region that scrolls and can be reached by keyboard. */
import { html, type Markup, type Part } from './markup.ts'

export interface Column {
  name: string
  /** Numbers stand at the right. @default false */
  numeric?: boolean
}

export interface Table {
  /** Name of the region. */
  label: string
  columns: readonly Column[]
  rows: readonly (readonly Part[])[]
}

/** A table; the first cell of a row is its heading. */
export function table({ label, columns, rows }: Table): Markup {
  const kind = (i: number) => (columns[i]?.numeric ? html` class="number"` : '')
  return html`<div class="scroll tall" role="region" aria-label="${label}" tabindex="0"><table><thead><tr>${columns.map(
    ({ name }, i) => html`<th scope="col"${kind(i)}>${name}</th>`,
  )}</tr></thead><tbody>${rows.map(
    (row) =>
      html`<tr>${row.map((cell, i) =>
        i === 0 ? html`<th scope="row"${kind(i)}>${cell}</th>` : html`<td${kind(i)}>${cell}</td>`,
      )}</tr>\n`,
  )}</tbody></table></div>`
}

/** A table behind a line that opens it. */
export const folded = (summary: string, content: Part): Markup =>
  html`<details><summary>${summary}</summary>${content}</details>`
