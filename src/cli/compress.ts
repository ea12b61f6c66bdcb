/** `pare compress`: the main job, in a thread of its own, so that Ctrl-C is heard at any moment. */
import type { Command } from 'commander'
import type { CompressionReport } from '../run/report.ts'
import { formText, rateText, type SpeedReport, speedRemarks } from '../run/speed_report.ts'
import { checkWord } from '../run/verify/verification.ts'
import { printable } from '../tensor/errors.ts'
import { positive } from './arguments.ts'
import {
  addCalibrationFlags,
  addEvaluationFlags,
  addMemoryFlag,
  addMethodFlags,
  addProbeFlag,
  addResultFlags,
  addRunFlags,
  checkTyped,
  modelArgument,
  toOptions,
  typedFlags,
} from './flags.ts'
import { runJob } from './job.ts'
import { showJson } from './show_json.ts'
import { bytesText } from './terminal.ts'
import { typedSteps } from './typed_steps.ts'

const examples = `
Examples:
  pare compress model.gguf --target gguf --scheme Q3_K --output smaller
      a 3-bit file for llama.cpp, calibrated with the text that comes with Pare
  pare compress hf:ORG/NAME --target gptq --bits 4 --group-size 128 --calib chats.jsonl --output smaller
      a GPTQ folder, calibrated with your own conversations
  pare compress model.gguf --method rtn --bits 8 --no-evaluate --output smaller
      in seconds, without a look at the loss
  pare compress model.gguf --target-bpw 4.25 --output smaller
      a width for every matrix, measured, so that the file has 4.25 bits a weight
  pare compress --recipe smaller.yaml --output smaller
      what a file says: steps, and single tensors that are stored otherwise (docs/recipes.md)

Until the result is whole, all of it lies in OUTPUT/.pare. A run that was stopped, by Ctrl-C or by a loss of power,
goes on where it was when the same command is given again.`

export function addCompress(pare: Command): void {
  const command = pare
    .command('compress')
    .description(
      'Make a model smaller: plan, calibrate, compress, write, and compare the result with its source.',
    )
    .argument('[model]', modelArgument)
    .addHelpText('after', examples)
  addResultFlags(command)
    .option(
      '--output <folder>',
      'where the result goes: a folder that is empty, does not exist, or holds this run unfinished',
    )
    .option('--overwrite', 'replace the output folder with all that is in it, once the result is whole')
    .option('--restart', 'discard what an unfinished run left at the output, and do a finished one again')
  addMethodFlags(command)
  addCalibrationFlags(command)
  addEvaluationFlags(command)
    .option(
      '--no-evaluate',
      'do not compare the result with its source, which takes about as long as the rest',
    )
    .option(
      '--no-verify',
      'do not open the result again and compare its values, tokens and template with the source, in seconds',
    )
    .option(
      '--side-by-side',
      'let source and result continue some prompts, for report.html. Each is loaded whole for it, in 4 bytes a weight (default: for models that take 1 GiB or less so)',
    )
    .option(
      '--max-kl <x>',
      'exit code 4 where the result is farther from its source, in nats a token; it is written all the same (default: no limit)',
      positive,
    )
    .option('--no-side-by-side', 'write no such texts')
    .option(
      '--speed',
      'measure the tokens a second of source and result, for some seconds. Both are in memory for it: weights in blocks or on grids in their codes, others in 4 bytes each (default: as --side-by-side)',
    )
    .option('--no-speed', 'do not measure it')
    .option(
      '--no-baselines',
      'do not compress and compare another way to store the same source: round to nearest, or with a target size the uniform mix',
    )
  command
    .optionsGroup('Running:')
    .option(
      '--scratch <folder>',
      'where activations go that do not fit in memory (default: into the output, while the run lasts)',
    )
  addProbeFlag(command)
  addMemoryFlag(command)
  addRunFlags(command, 'the report as JSON, as in report.json', { threads: true }).action(
    async (model: string | undefined, _, typed: Command) => {
      checkTyped(typed, model, ['--output'])
      const { json, ...flags } = typedFlags(typed) as { json?: boolean }
      const { threads, ...options } = toOptions(model, flags, typedSteps(typed))
      const report = await runJob<CompressionReport>({
        job: 'compress',
        options,
        threads,
        quiet: json,
      })
      if (json) showJson(report)
      else process.stdout.write(`${reportText(report)}\n`)
    },
  )
}

/** The report in a few lines. */
export function reportText(report: CompressionReport): string {
  const worst = report.layers.toSorted((a, b) => b.relativeError - a.relativeError).slice(0, 3)
  const percent = (share: number) => `${(100 * share).toFixed(2)}%`
  return [
    `weights     ${bytesText(report.bytesSource)} -> ${bytesText(report.bytes)}, ${report.bitsPerWeight.toFixed(2)} bits a linear weight, ${report.fileBitsPerWeight.toFixed(2)} over the file`,
    ...(report.perplexity === undefined
      ? []
      : [
          `perplexity  ${report.perplexitySource!.toFixed(3)} -> ${report.perplexity.toFixed(3)} (${report.protocol}, ${report.tokens} tokens)`,
          `KL          ${report.kl!.toFixed(4)}${report.klStandardError === undefined ? '' : ` ± ${report.klStandardError.toFixed(4)}`} nats a token${report.kl99 === undefined ? '' : `, at most ${report.kl99.toFixed(3)} in 99% of the tokens`}, same top token ${percent(report.top1!)}`,
        ]),
    ...(report.embeddings
      ? [
          `vectors     ${cosines(report.embeddings)} to those of the source, ${report.embeddings.texts} passages`,
        ]
      : []),
    ...(report.baselines ?? []).map(
      ({ name, bytes, kl, embeddings }) =>
        `baseline    ${printable(name)}: ${bytesText(bytes)}${kl === undefined ? '' : `, KL ${kl.toFixed(4)}`}${embeddings ? `, ${cosines(embeddings)}` : ''}`,
    ),
    ...worst.map(
      (layer) =>
        `worst       ${printable(layer.name)}: ${percent(layer.relativeError)} of the output lost${layer.relativeErrorRtn === undefined || report.method === 'rtn' ? '' : ` (round to nearest ${percent(layer.relativeErrorRtn)})`}`,
    ),
    ...(report.verification
      ? [
          `verified    ${report.verification.checks.map((check) => `${check.name} ${checkWord(check)}`).join(', ')}`,
        ]
      : []),
    ...(report.speed ? [speedLine(report.speed)] : []),
    `time        ${report.seconds.toFixed(1)} s, ${bytesText(report.peakMemoryBytes)} memory at most`,
    `output      ${printable(report.output, 4096)}: ${report.files.map((file) => printable(file)).join(', ')}`,
    ...(report.bytes > report.bytesSource
      ? [
          `The result is larger than its source: ${bytesText(report.bytes)} against ${bytesText(report.bytesSource)}.`,
        ]
      : []),
    ...(report.baselines ?? []).flatMap(({ name, kl }) =>
      kl !== undefined && report.kl !== undefined && kl < report.kl
        ? [
            `The baseline is closer to the source (${printable(name)}): KL ${kl.toFixed(4)} against ${report.kl.toFixed(4)}.`,
          ]
        : [],
    ),
  ].join('\n')
}

/** Before and after, and what brings no speed on this device. */
function speedLine(speed: SpeedReport): string {
  const { source, result } = speed
  const rates = (of: 'prefill' | 'decode') => `${rateText(source[of])} -> ${rateText(result[of])}`
  const bytes = `${bytesText(source.weightBytes)} -> ${bytesText(result.weightBytes)} of weights a token (${formText(result)})`
  return `speed       written ${rates('decode')} tokens/s, read ${rates('prefill')}; ${[bytes, speedRemarks(speed).join(' ')].filter(Boolean).join('. ')}`
}

const cosines = ({ meanCosine, leastCosine }: NonNullable<CompressionReport['embeddings']>): string =>
  `mean cosine ${meanCosine.toFixed(5)}, least ${leastCosine.toFixed(5)}`
