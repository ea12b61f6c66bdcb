/** Options of how a model writes texts, which `pare chat` and `pare serve` share. */
import { type Command, Option } from 'commander'
import type { TextGeneratorOptions } from '../generate/text_generator.ts'
import { OptionError } from '../tensor/errors.ts'
import { size, whole } from './arguments.ts'

export interface GeneratorFlags {
  context?: number | undefined
  cacheMemory?: number | undefined
  dtype?: 'f32' | 'bf16' | undefined
  packed?: 'f32' | 'int8' | undefined
}

export function addGeneratorFlags(command: Command): void {
  command
    .optionsGroup('Model:')
    .option(
      '--context <n>',
      'tokens of a prompt and its text together, up to that of the model; fewer take less memory (default: that of the model, or as many as --cache-memory holds)',
      whole(1),
    )
    .option(
      '--cache-memory <size>',
      'keys and values of all texts together; a text waits until its own fit (default: 1GiB)',
      size,
    )
    .addOption(
      new Option(
        '--dtype <type>',
        'numbers to compute in, f32 or bf16; bf16 takes half the memory and differs in the third digit (default: f32)',
      ).choices(['f32', 'bf16']),
    )
    .addOption(
      new Option(
        '--packed <inputs>',
        'weights stay in their codes, as small as in the file, where they are in blocks of ggml or on grids; products take inputs in f32, or rounded to int8, which is faster and a little less exact (default: all weights as numbers in memory)',
      ).choices(['f32', 'int8']),
    )
}

export function generatorOptions({
  context,
  cacheMemory,
  dtype,
  packed,
}: GeneratorFlags): TextGeneratorOptions {
  const given = { context, cacheBytes: cacheMemory, dtype, packed }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

/** Flags whose names are not those of the options that they set. */
const otherNames: Readonly<Record<string, string>> = { cacheBytes: '--cache-memory' }

/** An error about an option with the flag in its place, as it was typed: `topP: ...` as `--top-p: ...`. */
export function namedByFlag(error: unknown): unknown {
  if (!(error instanceof OptionError) || typeof error.facts.option !== 'string') return error
  const { message, code, facts } = error
  const option = error.facts.option
  if (!message.startsWith(`${option}:`)) return error
  const flag = otherNames[option] ?? `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  return new OptionError(`${flag}${message.slice(option.length)}`, { code, facts, cause: error })
}
