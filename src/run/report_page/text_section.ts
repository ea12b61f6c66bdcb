/** What the source and the result write after the same prompts, side by side. */
import type { CompressionReport, GreedySample } from '../report.ts'
import { shortened } from '../visible_text.ts'
import { html, type Markup } from './markup.ts'
import { missing, section } from './section.ts'

/** How to get what this section and the next one show. */
export const sideBySideSentence = html`compress with <code>--side-by-side</code> and without <code>--no-evaluate</code>; the source and the result are each loaded whole for it.`

export function textSection({ samples = [], family }: CompressionReport): Markup {
  return section({
    id: 'texts',
    title: 'Texts side by side',
    content:
      samples.length === 0
        ? missing(
            family === 'bert'
              ? 'A text encoder turns texts into vectors and writes none.'
              : html`No texts were written: ${sideBySideSentence}`,
          )
        : html`<p class="lead">Each model takes its most likely token, again and again. A bar stands where the two part, and what follows is marked.</p>${samples.map(comparison)}`,
  })
}

const comparison = ({ prompt, text, textSource, parts }: GreedySample): Markup =>
  html`<article class="sample"><h3>${
    parts ? `The texts part at token ${parts.token + 1}` : 'The texts are the same'
  }</h3><p class="prompt" dir="auto"><span class="who">Prompt</span>${shortened(prompt, 2000)}</p><div class="pair"><div><h4>Source</h4>${continued(textSource, parts?.character)}</div><div><h4>Result</h4>${continued(text, parts?.character)}</div></div></article>`

function continued(text: string, parts: number | undefined): Markup {
  const whole = shortened(text, 8000)
  const cut = parts ?? whole.length
  const after = whole.slice(cut)
  return html`<p class="written" dir="auto">${whole.slice(0, cut)}${after !== '' && html`<mark>${after}</mark>`}</p>`
}
