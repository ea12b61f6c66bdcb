/** Where the logits of a fixed prompt part: KL at each of its tokens, and where the most likely tokens differ. */
import type { CompressionReport, LogitParting } from '../report.ts'
import { shortened, visible } from '../visible_text.ts'
import { logarithmicAxis } from './axis.ts'
import { axisLeft, type Box, figure } from './figure.ts'
import { html, type Markup } from './markup.ts'
import { fixed, isNumber } from './numbers.ts'
import { missing, section } from './section.ts'
import { folded, table } from './table.ts'
import { sideBySideSentence } from './text_section.ts'
import { fitted, textWidth } from './text_width.ts'

const MOST_POSITIONS = 256

export function partingSection({ parting, family }: CompressionReport): Markup {
  return section({
    id: 'logits',
    title: 'Where the logits part',
    content:
      !parting || parting.positions.length === 0
        ? missing(
            family === 'bert'
              ? 'A text encoder has no logits; the size section compares its vectors.'
              : html`The logits were not compared token by token: ${sideBySideSentence}`,
          )
        : html`${lead(parting)}${bars(parting)}${folded('Numbers', positionTable(parting))}`,
  })
}

function lead({ positions, first }: LogitParting): Markup {
  const agreed = positions.filter(({ agrees }) => agrees).length
  const place = first === undefined ? undefined : positions[first]
  return html`<p class="lead">Both models read the same text. After ${agreed} of its ${positions.length} tokens they expect the same next token. ${
    place
      ? html`They first differ after token ${first! + 1}, <q>${tokenText(place.token)}</q>: the source expects <q>${tokenText(place.topSource)}</q>, the result <q>${tokenText(place.top)}</q>.`
      : 'They never differ.'
  }</p>`
}

/** A token as one line: blanks and line ends can be seen. */
export const tokenText = (token: string): string =>
  shortened(visible(token).replace(/ /g, '·').replaceAll('\n', '⏎').replaceAll('\t', '⇥'), 40)

const LEFT = 52
const STEP = 16

/** A bar for each token, which stands below it; a cross where the most likely tokens differ. */
function bars({ positions, first }: LogitParting): Markup {
  const shown = positions.slice(0, MOST_POSITIONS)
  const step = Math.max(STEP, Math.floor((1000 - LEFT - 16) / shown.length))
  const texts = shown.map(({ token }) => fitted(tokenText(token), 110))
  const foot = Math.max(...texts.map(textWidth)) + 12
  const box: Box = { left: LEFT, right: LEFT + shown.length * step, top: 40, bottom: 200 }
  const most = shown.reduce((a, { kl }) => (isNumber(kl) ? Math.max(a, kl) : a), 0)
  // A few positions have a hundred times the KL of the others. What is far below the largest is as good as nothing.
  const y = logarithmicAxis((most || 1) / 3000, most || 1, box.bottom, box.top)
  const width = Math.min(step - 4, 22)
  return figure({
    id: 'logits-kl',
    title: 'KL to the source after each token of the prompt, in nats',
    description: `At most ${fixed(most, 3)}; the most likely tokens differ after ${shown.filter(({ agrees }) => !agrees).length} of ${shown.length} tokens${first === undefined ? '' : `, first after token ${first + 1}`}.`,
    width: box.right + 16,
    height: box.bottom + foot,
    body: [
      axisLeft({ axis: y, label: 'KL, nats (logarithmic); × other most likely token', format: String }, box),
      html`<path class="axis" d="M${box.left} ${box.bottom}H${box.right}"/>`,
      ...shown.map(({ kl, agrees, top, topSource }, i) => {
        const x = box.left + (i + 0.5) * step
        const height = y.at(isNumber(kl) ? kl : 0)
        return html`<g><title>after ${texts[i]}: KL ${fixed(kl, 4)}; source ${tokenText(topSource)}, result ${tokenText(top)}</title><rect class="bar ${agrees ? 'agrees' : 'differs'}" x="${x - width / 2}" y="${Math.min(height, box.bottom - 1)}" width="${width}" height="${Math.max(1, box.bottom - height)}"/>${
          !agrees && html`<path class="cross" d="M${x - 4} ${height - 12}l8 8m0 -8l-8 8"/>`
        }<text class="tick${i === first && ' strong'}" transform="translate(${x + 4} ${box.bottom + 8}) rotate(-90)" text-anchor="end">${texts[i]}</text></g>\n`
      }),
    ],
  })
}

const positionTable = ({ positions }: LogitParting): Markup =>
  table({
    label: 'The prompt, token by token',
    columns: [
      { name: 'token', numeric: true },
      { name: 'after' },
      { name: 'KL', numeric: true },
      { name: 'source expects' },
      { name: 'result expects' },
      { name: 'same' },
    ],
    rows: positions
      .slice(0, MOST_POSITIONS)
      .map(({ token, kl, top, topSource, agrees }, i) => [
        i + 1,
        tokenText(token),
        fixed(kl, 4),
        tokenText(topSource),
        tokenText(top),
        agrees ? 'yes' : '× no',
      ]),
  })
