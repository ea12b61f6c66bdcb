/** What opening the result again found: a row for each check. */
import type { CompressionReport } from '../report.ts'
import { type Check, checkWord } from '../verify/verification.ts'
import { shortened } from '../visible_text.ts'
import { html, type Markup } from './markup.ts'
import { missing, section } from './section.ts'
import { table } from './table.ts'

/** There are six; report.json may hold anything. */
const MOST_CHECKS = 20

export function verificationSection({ verification }: CompressionReport): Markup {
  return section({
    id: 'verification',
    title: 'Verification',
    content: verification
      ? html`<p class="lead">The files of the result were opened again and compared with what was decided, and with the source.</p>${table(
          {
            label: 'Checks of the result',
            columns: [{ name: 'check' }, { name: 'result' }, { name: 'what was compared' }],
            rows: verification.checks
              .slice(0, MOST_CHECKS)
              .map((check) => [check.name, checkWord(check), said(check)]),
          },
        )}`
      : missing(
          html`The result was not opened again: compress without <code>--no-verify</code>, or run <code>pare verify</code>.`,
        ),
  })
}

const said = ({ text, faults }: Check): string => shortened([text, ...faults].join('; '), 600)
