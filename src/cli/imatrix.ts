/** `pare imatrix`: how much each input of a model's weights is used, as a file for `--imatrix` and llama-quantize. */
import type { Command } from 'commander'
import type { MeasuredImportance } from '../run/measure_importance.ts'
import { addCalibrationFlags, addRunFlags, modelArgument } from './flags.ts'
import { runJob } from './job.ts'
import { showJson } from './show_json.ts'

const examples = `
Examples:
  pare imatrix model.gguf --output imatrix.gguf
  pare imatrix hf:ORG/NAME --calib book.txt --samples 100 --output imatrix.gguf
  pare compress model.gguf --target gguf --scheme Q4_K_M --method rtn --imatrix imatrix.gguf --output smaller

The file holds the sum of squares of every input over the text, in the layout of llama.cpp's llama-imatrix.`

export function addImatrix(pare: Command): void {
  const command = pare
    .command('imatrix')
    .description('Measure how much each input of the weights is used, for fits that care about it.')
    .argument('<model>', modelArgument)
    .requiredOption('--output <file>', 'the GGUF file that is written')
    .option('--overwrite', 'replace a file that is there')
    .addHelpText('after', examples)
  addCalibrationFlags(command)
  addRunFlags(command, 'the result as JSON', { threads: true }).action(
    async (model: string, { json, threads, calib, ...flags }) => {
      const result = await runJob<MeasuredImportance>({
        job: 'imatrix',
        options: { ...flags, model, ...(calib ? { calibration: calib } : {}) },
        threads,
        quiet: json,
      })
      if (json) showJson(result)
      else process.stdout.write(`${importanceText(result)}\n`)
    },
  )
}

const importanceText = ({ output, weights, tokens, notes }: MeasuredImportance): string =>
  [
    `${output}: inputs of ${weights} weights, from ${tokens} tokens`,
    ...notes.map((note) => `note: ${note}`),
  ].join('\n')
