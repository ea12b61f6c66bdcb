/** Steps that are typed one after another: `--method A --sparsity 0.5 --then B --bits 4`. */
import { type Command, Option } from 'commander'
import { stepFields } from '../run/option_fields.ts'
import { stepMethodNames } from '../run/step_methods.ts'
import type { WeightStep } from '../run/weight_step.ts'

const steps = new WeakMap<Command, Record<string, unknown>[]>()

/** Adds `--then`, and notes which step each option of a step is typed behind. Call it when all of them are there. */
export function addSteps(command: Command): Command {
  const typed: Record<string, unknown>[] = [{}]
  steps.set(command, typed)
  command.addOption(
    new Option(
      '--then <name>',
      'a further step, on what the steps before made of the weights; options of steps that follow it are its own. May be repeated (default: none)',
    ).choices(stepMethodNames),
  )
  command.on('option:then', (method: string) => typed.push({ method }))
  for (const option of command.options) {
    const name = option.attributeName()
    if (Object.hasOwn(stepFields, name))
      command.on(`option:${option.name()}`, () => {
        typed.at(-1)![name] = command.getOptionValue(name)
      })
  }
  return command
}

/** The steps, where `--then` was typed. */
export function typedSteps(command: Command): WeightStep[] | undefined {
  const typed = steps.get(command) ?? []
  return typed.length > 1 ? (typed as WeightStep[]) : undefined
}
