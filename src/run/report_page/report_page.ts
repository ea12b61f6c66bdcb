/** `report.html`: a report as one file that needs no server, no script and no network. */
import { createHash } from 'node:crypto'
import { sourceLabel } from '../command_line.ts'
import type { CompressionReport } from '../report.ts'
import { programsText } from '../targets.ts'
import { shortened } from '../visible_text.ts'
import { errorSection } from './error_section.ts'
import { html } from './markup.ts'
import { fixed } from './numbers.ts'
import { originSection } from './origin_section.ts'
import { partingSection } from './parting_section.ts'
import { sizeSection } from './size_section.ts'
import { speedSection } from './speed_section.ts'
import { style, styleElement } from './style.ts'
import { summarySection } from './summary_section.ts'
import { textSection } from './text_section.ts'
import { timeSection } from './time_section.ts'
import { verificationSection } from './verification_section.ts'

/** Nothing is loaded and nothing runs; the one style sheet is known by its hash. */
export const contentSecurityPolicy = `default-src 'none'; style-src 'sha256-${createHash('sha256')
  .update(style)
  .digest('base64')}'; base-uri 'none'; form-action 'none'`

const links = [
  ['summary', 'Summary'],
  ['size', 'Size and quality'],
  ['speed', 'Speed'],
  ['error', 'Errors'],
  ['time', 'Time'],
  ['verification', 'Verification'],
  ['texts', 'Texts'],
  ['logits', 'Logits'],
  ['origin', 'Origin'],
] as const

/**
 * The page of a report. Parts that the report does not hold are left out, each with a sentence that says how to get
 * it. Names, texts and notes may come from anywhere: they are escaped, and characters without a shape are shown.
 *
 * @example writeFileSync('report.html', reportPage(JSON.parse(readFileSync('report.json', 'utf8'))))
 */
export function reportPage(report: CompressionReport): string {
  const name = shortened(sourceLabel(report.source), 120)
  const opens = programsText(report.programs ?? [])
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentSecurityPolicy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${name}, compressed by Pare</title>
${styleElement}
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header>
<p class="brand">Pare report</p>
<h1>${name}</h1>
<p class="sub">${report.method} to ${report.target}, ${fixed(report.bitsPerWeight, 2)} bits a linear weight${opens === undefined ? '' : `; opens in ${opens}`}</p>
<nav aria-label="Parts of the report">${links.map(([id, text]) => html`<a href="#${id}">${text}</a>`)}</nav>
</header>
<main id="main" tabindex="-1">
${[
  summarySection(report),
  sizeSection(report),
  speedSection(report),
  errorSection(report),
  timeSection(report),
  verificationSection(report),
  textSection(report),
  partingSection(report),
  originSection(report),
]}</main>
</body>
</html>
`
  return page.toString()
}
