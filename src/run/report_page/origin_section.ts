/** Where it comes from: source, calibration, files and notes. */
import { sourceLabel } from '../command_line.ts'
import type { CompressionReport } from '../report.ts'
import { shortened } from '../visible_text.ts'
import { html, type Markup, type Part } from './markup.ts'
import { fixed } from './numbers.ts'
import { section } from './section.ts'

const MOST_NOTES = 200

export function originSection(report: CompressionReport): Markup {
  const { calibration, notes, files } = report
  const facts: [string, Part][] = [
    ['Source', html`<code>${shortened(sourceLabel(report.source), 300)}</code>`],
    ...(report.sourceSha256
      ? ([['SHA-256 of the source', html`<code>${report.sourceSha256}</code>`]] as [string, Part][])
      : []),
    [
      'Calibration',
      calibration
        ? html`${calibration.samples} samples of ${calibration.length} tokens of ${list(calibration.files)}, seed ${calibration.seed}; SHA-256 of the text <code>${calibration.sha256}</code>`
        : 'none: the method looks at the weights alone',
    ],
    ...(report.protocol === undefined
      ? []
      : ([['Evaluation', `${fixed(report.tokens, 0)} predictions, ${report.protocol}`]] as [string, Part][])),
    ['Files', list(files)],
    ['Made by', `Pare ${report.version}`],
  ]
  return section({
    id: 'origin',
    title: 'Origin',
    content: html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>${
      notes.length > 0 &&
      html`<h3>Notes</h3><ul>${notes.slice(0, MOST_NOTES).map((note) => html`<li>${shortened(note, 600)}</li>`)}</ul>${
        notes.length > MOST_NOTES && html`<p>${notes.length - MOST_NOTES} more stand in report.json.</p>`
      }`
    }`,
  })
}

const list = (names: readonly string[]): Part =>
  names.slice(0, 100).map((name, i) => html`${i > 0 && ', '}<code>${shortened(name)}</code>`)
