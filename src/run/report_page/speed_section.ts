/** Tokens a second of source and result, and what one token reads. */
import type { CompressionReport } from '../report.ts'
import { formText, methodText, rateText, ratioOf, type SpeedReport, speedRemarks } from '../speed_report.ts'
import { shortened } from '../visible_text.ts'
import { html, type Markup } from './markup.ts'
import { byteSize, fixed } from './numbers.ts'
import { missing, section } from './section.ts'
import { table } from './table.ts'

export const speedSection = ({ speed, family }: CompressionReport): Markup =>
  section({
    id: 'speed',
    title: 'Speed',
    content: speed
      ? content(speed)
      : missing(
          family === 'bert'
            ? 'A text encoder writes no texts, of which tokens a second could be counted.'
            : html`Speed was not measured: compress with <code>--speed</code> and without <code>--no-evaluate</code>; source and result are both in memory for it.`,
        ),
  })

function content(speed: SpeedReport): Markup {
  return html`${speedRemarks(speed).map((remark) => html`<p class="lead">${remark}</p>`)}${table({
    label: 'Speed of source and result',
    columns: [
      { name: 'what' },
      { name: 'source', numeric: true },
      { name: 'result', numeric: true },
      { name: 'result / source', numeric: true },
    ],
    rows: speedRows(speed),
  })}<p>${methodText(speed)}</p>`
}

type Row = [name: string, source: string, result: string, ratio: string]

/** What was measured, for the page and the card. */
export function speedRows({ source, result, prompt }: SpeedReport): Row[] {
  const bytes = (name: string, of: 'weightBytes' | 'contextBytes'): Row => [
    name,
    byteSize(source[of]),
    byteSize(result[of]),
    fixed(ratioOf(source[of], result[of]), 2),
  ]
  const rates = (name: string, of: 'prefill' | 'decode'): Row => {
    const text = (model: SpeedReport['source']) =>
      `${rateText(model[of])} (${rateText(model.least?.[of])} to ${rateText(model[of])})`
    return [name, text(source), text(result), fixed(ratioOf(source[of], result[of]), 2)]
  }
  return [
    ['weights in memory', shortened(formText(source), 80), shortened(formText(result), 80), ''],
    rates(`reading ${fixed(prompt, 0)} tokens, tokens/s`, 'prefill'),
    rates('writing, tokens/s', 'decode'),
    bytes('weights that a token reads', 'weightBytes'),
    bytes('keys and values, for each token before', 'contextBytes'),
  ]
}
