/** The figures of a compression, and the command that made it. */
import { shareable, shellLine } from '../command_line.ts'
import type { CompressionReport } from '../report.ts'
import { shortened } from '../visible_text.ts'
import { html, type Markup, type Part } from './markup.ts'
import { byteSize, duration, fixed, isNumber, percent } from './numbers.ts'
import { missing, section } from './section.ts'

export const summarySection = (report: CompressionReport): Markup =>
  section({ id: 'summary', title: 'Summary', content: [cards(report), command(report)] })

interface Card {
  name: string
  value: string
  /** What it is held against. */
  beside: Part
}

function cards(report: CompressionReport): Markup {
  const { bytes, bytesSource, bitsPerWeight, fileBitsPerWeight } = report
  const ratio = bytes / bytesSource
  const list: Card[] = [
    {
      name: 'Weight files',
      value: byteSize(bytes),
      beside: `${percent(ratio, 0)} of ${byteSize(bytesSource)}`,
    },
    {
      name: 'Bits a linear weight',
      value: fixed(bitsPerWeight, 2),
      beside: `${fixed(fileBitsPerWeight, 2)} over all weights`,
    },
  ]
  if (isNumber(report.perplexity)) {
    list.push({
      name: 'Perplexity',
      value: fixed(report.perplexity, 2),
      beside: `source ${fixed(report.perplexitySource, 2)}, ${report.protocol}`,
    })
  }
  if (isNumber(report.kl)) {
    list.push({
      name: 'KL to the source',
      value: fixed(report.kl, 4),
      beside: [
        isNumber(report.klStandardError)
          ? `± ${fixed(report.klStandardError, 4)} nats a token`
          : 'nats a token',
        ...(isNumber(report.kl99) ? [`at most ${fixed(report.kl99, 3)} in 99% of the tokens`] : []),
      ].join(', '),
    })
  }
  if (isNumber(report.top1)) {
    list.push({
      name: 'Same top token',
      value: percent(report.top1),
      beside: `of ${report.tokens ?? 0} predictions`,
    })
  }
  if (report.embeddings) {
    const { meanCosine, leastCosine, texts } = report.embeddings
    list.push({
      name: 'Mean cosine to the source',
      value: fixed(meanCosine, 5),
      beside: `least ${fixed(leastCosine, 5)}, vectors of ${texts} passages`,
    })
  }
  list.push({
    name: 'Time and memory',
    value: duration(report.seconds),
    beside: isNumber(report.maxMemoryBytes)
      ? `${byteSize(report.peakMemoryBytes)} at most, of ${byteSize(report.maxMemoryBytes)}`
      : `${byteSize(report.peakMemoryBytes)} at most`,
  })
  return html`<dl class="cards">${list.map(
    ({ name, value, beside }) =>
      html`<div><dt>${name}</dt><dd><strong>${value}</strong><span>${beside}</span></dd></div>`,
  )}</dl>`
}

const command = ({ command }: CompressionReport): Markup =>
  command
    ? html`<h3>Command</h3><div class="scroll command" role="region" aria-label="Command" tabindex="0"><code>${shortened(shellLine(shareable(command)), 4000)}</code></div>`
    : missing('This report holds no command: compress again, which records it.')
