/** Parts of the page. */
import { html, type Markup, type Part } from './markup.ts'

export interface Section {
  /** Target of the links at the top. */
  id: string
  title: string
  content: Part
}

export const section = ({ id, title, content }: Section): Markup =>
  html`<section id="${id}" aria-labelledby="${id}-heading"><h2 id="${id}-heading">${title}</h2>${content}</section>\n`

/** Stands where a part of the report is missing: one sentence that says how to get it. */
export const missing = (sentence: Part): Markup => html`<p class="missing">${sentence}</p>`
