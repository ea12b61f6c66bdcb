/** `pare train`: a training from its recipe, in a thread of its own, so that Ctrl-C is heard at any moment. */
import { type Command, Option } from 'commander'
import type { TrainingReport } from '../run/training/training_report.ts'
import { printable } from '../tensor/errors.ts'
import { whole } from './arguments.ts'
import { typedFlags } from './flags.ts'
import { runJob } from './job.ts'
import { showJson } from './show_json.ts'
import { bytesText } from './terminal.ts'

const examples = `
Examples:
  pare train tiny.yaml --output tiny
      model, data, optimiser and methods stand in the recipe (docs/training.md)
  pare train tiny.yaml --steps 20 --output trial
      a few steps, to see loss and speed
  pare compress tiny --bits 4 --group-size 32 --output smaller
      the result of a language model is a folder for all other commands

A run that was stopped, by Ctrl-C or by a loss of power, goes on from its last checkpoint when the same command is given
again, and ends with the same bytes; Ctrl-C writes one first. OUTPUT/log.jsonl has a line for every ten steps.`

export function addTrain(pare: Command): void {
  pare
    .command('train')
    .description('Train a model from a recipe: a small language model on text, or a classifier of images.')
    .argument('<recipe>', 'a .yaml, .yml or .json file with a training')
    .addHelpText('after', examples)
    .optionsGroup('Training:')
    .option('--steps <n>', 'steps of the optimiser, in place of steps or epochs of the recipe', whole(1))
    .option(
      '--seed <n>',
      'of new weights, orders and augmentation (default: as the recipe says, or 0)',
      whole(0),
    )
    .optionsGroup('Result:')
    .option(
      '--output <folder>',
      'where the result goes: a folder that is empty, does not exist, or holds this training unfinished (default: as the recipe says)',
    )
    .option(
      '--overwrite',
      'take a folder that holds something else: files of the names of the result are replaced, others stay',
    )
    .option('--restart', 'discard what an unfinished run left at the output, and do a finished one again')
    .optionsGroup('Running:')
    .option(
      '--threads <n>',
      'threads to compute with; the result does not depend on it (default: as the recipe says, or all cores)',
      whole(1),
    )
    .option('--quiet', 'no line of progress; notes and errors only')
    .option('--json', 'the report as JSON, as in training.json')
    .addHelpOption(new Option('-h, --help', 'show this help').helpGroup('Running:'))
    .action(async (recipe: string, _, typed: Command) => {
      const { json, quiet, ...flags } = typedFlags(typed) as TrainFlags
      const { readTraining } = await import('../run/training/read_training.ts')
      const threads = flags.threads ?? readTraining(recipe).threads
      const report = await runJob<TrainingReport>({
        job: 'train',
        options: { recipe, ...flags },
        threads,
        quiet: json || quiet,
      })
      if (json) showJson(report)
      else process.stdout.write(`${reportText(report)}\n`)
    })
}

interface TrainFlags {
  json?: boolean
  quiet?: boolean
  threads?: number
  steps?: number
  seed?: number
  output?: string
  overwrite?: boolean
  restart?: boolean
}

/** The report in a few lines. */
function reportText(report: TrainingReport): string {
  const { family, parameters, steps, units, unit, evaluation, skipped, seconds, output, files } = report
  const { loss, perplexity, bitsPerByte, accuracy } = evaluation
  const language = `${loss?.toFixed(4)} nats a token, perplexity ${perplexity?.toFixed(3)}, ${bitsPerByte?.toFixed(4)} bits a byte`
  return [
    `model       ${family}, ${parameters.toLocaleString('en')} weights`,
    `training    ${steps.toLocaleString('en')} steps, ${units.toLocaleString('en')} ${unit}`,
    `held out    ${accuracy === undefined ? language : `${(100 * accuracy).toFixed(2)}% right, loss ${loss?.toFixed(4)}`}`,
    ...(skipped > 0 ? [`skipped     ${skipped} steps, whose loss or gradient was not finite`] : []),
    `time        ${seconds.toFixed(1)} s, ${bytesText(report.peakMemoryBytes)} memory at most`,
    `output      ${printable(output, 4096)}: ${files.map((file) => printable(file)).join(', ')}`,
  ].join('\n')
}
