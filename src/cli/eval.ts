/** `pare eval`: perplexity, and KL and agreement against a source; of text encoders the cosine of their vectors. */
import { type Command, Option } from 'commander'
import type { Evaluation } from '../run/evaluate.ts'
import type { EncoderEvaluation } from '../run/evaluate_encoder.ts'
import { addEvaluationFlags, addRunFlags, modelArgument } from './flags.ts'
import { runJob } from './job.ts'
import { showJson } from './show_json.ts'

const examples = `
Examples:
  pare eval smaller --against hf:ORG/NAME               KL and agreement with the source
  pare eval model.gguf --text book.txt --windows 100    perplexity on a text of yours
  pare eval encoder --against all-MiniLM-L6-v2          cosine of the vectors of a text encoder

Perplexity is lower for better models, but two models may err differently and have the same; KL compares every
prediction with the source's, and is 0 where they are equal. Windows do not overlap; the text is tokenised once,
without a beginning of text.

A text encoder is compared with its source alone: mean and least cosine of their vectors, over --windows passages of 60
words, spread evenly over the text.`

export function addEval(pare: Command): void {
  const command = pare
    .command('eval')
    .description('Measure a model on text, alone or against its source.')
    .argument('<model>', modelArgument)
    .addHelpText('after', examples)
  addEvaluationFlags(command)
    .option(
      '--against <source>',
      'the model to compare with: adds its perplexity, KL and how often the most likely token is the same; text encoders need one',
    )
    .addOption(
      new Option(
        '--protocol <name>',
        'nonoverlap scores all tokens of a window; llama.cpp its second half, to compare with llama-perplexity (default: nonoverlap)',
      ).choices(['nonoverlap', 'llama.cpp']),
    )
  addRunFlags(command, 'the result as JSON', { threads: true }).action(
    async (model: string, { json, threads, ...flags }) => {
      const result = await runJob<Evaluation | EncoderEvaluation>({
        job: 'evaluate',
        options: { ...flags, model },
        threads,
        quiet: json,
      })
      if (json) showJson(result)
      else process.stdout.write(`${'meanCosine' in result ? encoderText(result) : evaluationText(result)}\n`)
    },
  )
}

function evaluationText(result: Evaluation): string {
  const { perplexity, perplexitySource, kl, klStandardError, kl99, top1, tokens, protocol, notes } = result
  return [
    `perplexity  ${perplexity.toFixed(4)}${perplexitySource === undefined ? '' : ` (source ${perplexitySource.toFixed(4)})`}  ${protocol}, ${tokens} tokens`,
    ...(kl === undefined
      ? []
      : [
          `KL          ${kl.toFixed(5)}${klStandardError === undefined ? '' : ` ± ${klStandardError.toFixed(5)}`} nats a token${kl99 === undefined ? '' : `, at most ${kl99.toFixed(4)} in 99% of the tokens`}`,
          `same top    ${(100 * top1!).toFixed(2)}%`,
        ]),
    ...notes.map((note) => `note        ${note}`),
  ].join('\n')
}

const encoderText = ({ meanCosine, leastCosine, texts, notes }: EncoderEvaluation): string =>
  [
    `cosine      mean ${meanCosine.toFixed(6)}, least ${leastCosine.toFixed(6)}, ${texts} passages`,
    ...notes.map((note) => `note        ${note}`),
  ].join('\n')
