/** `pare plan`: what a compression will store, from headers alone, and how long it will take here. */
import type { Command } from 'commander'
import { fetchProgress } from '../run/evaluate.ts'
import { type CompressionPlan, plan } from '../run/plan.ts'
import { findBinding } from '../tensor/binding.ts'
import { printable } from '../tensor/errors.ts'
import { setThreads } from '../tensor/index.ts'
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
import { interruptible } from './interrupt.ts'
import { showJson } from './show_json.ts'
import { planText, terminalProgress } from './terminal.ts'
import { typedSteps } from './typed_steps.ts'

const examples = `
Examples:
  pare plan model.gguf --target gguf --scheme Q3_K      how large a 3-bit file will be
  pare plan model.gguf --bits 3 --group-size 32         the same for a Pare folder
  pare plan model.gguf --samples 64 --no-evaluate       how long that takes
  pare plan model.gguf --tensors                        the type of every tensor
  pare plan model.gguf --target-bpw 4.25                the range of sizes, or the mix where it was measured before
  pare plan --recipe smaller.yaml                       what a recipe asks for, and what its patterns match`

export function addPlan(pare: Command): void {
  const command = pare
    .command('plan')
    .description(
      'Show every type and byte of a compression before it runs, and about how long it takes on this machine. Reads headers only.',
    )
    .argument('[model]', modelArgument)
    .addHelpText('after', examples)
  addResultFlags(command)
  addMethodFlags(command)
  addCalibrationFlags(command)
  addEvaluationFlags(command)
    .option('--no-evaluate', 'the result is not compared with its source')
    .option('--no-verify', 'the result is not opened again')
    .option(
      '--side-by-side',
      'source and result also continue some prompts (default: for models of 1 GiB or less in f32)',
    )
    .option('--no-side-by-side', 'write no such texts')
    .option('--speed', 'the tokens a second of source and result are measured (default: as --side-by-side)')
    .option('--no-speed', 'they are not measured')
  addProbeFlag(command)
  addMemoryFlag(command)
  addRunFlags(
    command.optionsGroup('Running:').option('--tensors', 'one line for every tensor'),
    'the whole plan as JSON',
    { threads: true },
  ).action(async (model: string | undefined, _, typed: Command) => {
    checkTyped(typed, model, [])
    const { json, tensors, ...flags } = typedFlags(typed) as { json?: boolean; tensors?: boolean }
    const { show, stop } = terminalProgress({ quiet: json ?? false })
    const { threads, ...options } = toOptions(model, flags, typedSteps(typed))
    if (threads !== undefined && findBinding()) setThreads(threads)
    const result = await interruptible((signal) =>
      plan(options, { signal, progress: fetchProgress(show) }, { signal, progress: show }),
    ).finally(stop)
    if (json) showJson(result)
    else
      process.stdout.write(
        `${[planText(result), ...(tensors ? result.tensors.map(tensorText) : [])].join('\n')}\n`,
      )
  })
}

function tensorText({ name, sourceType, type, bytes, note }: CompressionPlan['tensors'][number]): string {
  const line = `${printable(name).padEnd(52)} ${printable(sourceType).padEnd(6)} -> ${type.padEnd(24)} ${String(bytes).padStart(12)} bytes`
  return note ? `${line}  ${printable(note)}` : line
}
