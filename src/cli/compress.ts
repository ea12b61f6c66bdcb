/** `pare compress`: the main job, in a thread of its own, so that Ctrl-C is heard at any moment. */
import type { Command } from 'commander'
import type { CompressionReport } from '../run/report.ts'
import { addCalibrationFlags, addCompressFlags, addEvaluationFlags, toOptions } from './compress_flags.ts'
import { runJob } from './job.ts'
import { megabytes } from './terminal.ts'

export function addCompress(pare: Command): void {
  const command = pare
    .command('compress')
    .description('Compress a model: plan, walk, write, evaluate, report.')
    .argument('<model>', 'path, pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME')
    .requiredOption('--output <folder>', 'where the result goes; must be empty or not exist')
  addCompressFlags(command)
  addCalibrationFlags(command)
  addEvaluationFlags(command)
    .option('--no-evaluate', 'do not compare the result with its source')
    .option('--overwrite', 'replace a folder that is not empty')
    .option(
      '--scratch <folder>',
      'where activations go that do not fit in memory (default: beside the output)',
    )
    .option('--offline', 'use only what is on this disk')
    .option('--threads <n>', 'threads of the kernels; the result does not depend on it', Number)
    .option('--json', 'the report as JSON')
    .action(async (model: string, { json, threads, ...flags }) => {
      const report = await runJob<CompressionReport>({
        job: 'compress',
        options: toOptions(model, flags),
        threads,
        quiet: json,
      })
      process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : `${reportText(report)}\n`)
    })
}

/** The report in a few lines. */
function reportText(report: CompressionReport): string {
  const worst = report.layers.toSorted((a, b) => b.relativeError - a.relativeError).slice(0, 3)
  const percent = (share: number) => `${(100 * share).toFixed(2)}%`
  return [
    `weights     ${megabytes(report.bytesSource)} -> ${megabytes(report.bytes)}, ${report.bitsPerWeight.toFixed(2)} bits a linear weight, ${report.fileBitsPerWeight.toFixed(2)} over the file`,
    ...(report.perplexity === undefined
      ? []
      : [
          `perplexity  ${report.perplexitySource!.toFixed(3)} -> ${report.perplexity.toFixed(3)} (${report.protocol}, ${report.tokens} tokens)`,
          `KL          ${report.kl!.toFixed(4)}${report.klStandardError === undefined ? '' : ` ± ${report.klStandardError.toFixed(4)}`} nats a token, same top token ${percent(report.top1!)}`,
        ]),
    ...worst.map(
      (layer) =>
        `worst       ${layer.name}: ${percent(layer.relativeError)} of the output lost (round to nearest ${percent(layer.relativeErrorRtn)})`,
    ),
    `time        ${report.seconds.toFixed(1)} s, ${megabytes(report.peakMemoryBytes)} memory at most`,
    `output      ${report.output}: ${report.files.join(', ')}`,
    ...(report.bytes > report.bytesSource
      ? [
          `The result is larger than its source: ${megabytes(report.bytes)} against ${megabytes(report.bytesSource)}.`,
        ]
      : []),
  ].join('\n')
}
