/** The README.md of a result: front matter for the hub, the command, and the table. */
import { basename } from 'node:path'
import type { OpenModel } from '../models/open_model.ts'
import { printable } from '../tensor/errors.ts'
import type { CompressionReport } from './report.ts'

const size = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`

/** Text that is safe inside a Markdown table and a YAML string: nothing of it is markup. */
const plain = (text: string) =>
  printable(text).replace(/[\\`*_{}[\]<>()#+!|~:&"']/g, (c) => `&#${c.charCodeAt(0)};`)

/** A path says nothing to others, and may say too much. */
const sourceName = ({ source }: CompressionReport, { name }: OpenModel) =>
  /^(?:pypi|npm|hf):/.test(source) ? source : name

export function modelCard(report: CompressionReport, source: OpenModel): string {
  const rows: [string, string][] = [
    ['method', report.method],
    ['size of the weights', `${size(report.bytes)} (source ${size(report.bytesSource)})`],
    ['bits a compressed weight', report.bitsPerWeight.toFixed(2)],
    ...(report.perplexity === undefined
      ? []
      : ([
          [
            `perplexity (${report.protocol})`,
            `${report.perplexity.toFixed(3)} (source ${report.perplexitySource!.toFixed(3)})`,
          ],
          [
            'KL to the source, nats a token',
            `${report.kl!.toFixed(4)}${report.klStandardError === undefined ? '' : ` ± ${report.klStandardError.toFixed(4)}`}`,
          ],
          ['same most likely token', `${(100 * report.top1!).toFixed(1)}%`],
        ] as [string, string][])),
  ]
  const { calibration } = report
  return `---
base_model: ${JSON.stringify(printable(source.name))}
base_model_relation: quantized
tags:
  - pare
  - ${report.method}
  - ${report.target}
---

# ${plain(source.name)}, compressed by Pare

Source: ${plain(sourceName(report, source))}

| | |
| --- | --- |
${rows.map(([name, value]) => `| ${name} | ${value} |`).join('\n')}
${
  calibration
    ? `\nCalibrated with ${calibration.samples} samples of ${calibration.length} tokens of ${calibration.files.map((f) => plain(basename(f))).join(', ')} (seed ${calibration.seed}).\n`
    : ''
}${report.notes.length > 0 ? `\n${report.notes.map((note) => `- ${plain(note)}`).join('\n')}\n` : ''}
Layer by layer: report.json.
`
}
