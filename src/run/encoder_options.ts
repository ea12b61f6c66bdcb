/** What the options of a compression mean for a text encoder. */
import { readSentenceSettings } from '../models/bert/sentence_settings.ts'
import type { OpenConvertible } from '../models/load_model.ts'
import type { OpenCompressible, OpenTextEncoder } from '../models/open_model.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import type { CompressOptions, ResolvedCompressOptions } from './compress_options.ts'
import { modelTunerOf } from './step_tuning.ts'
import type { TargetName } from './targets.ts'

/** Formats that hold encoders. */
const encoderFormats: readonly string[] = ['pare', 'onnx', 'transformers.js']

const encoderTargets = 'pare, onnx or transformers.js'

/** Formats that hold classifiers of images. */
const imageFormats: readonly string[] = ['onnx', 'transformers.js']

/** @throws OptionError for a format that holds no model of the family. */
export function checkFormat(open: OpenConvertible, target: TargetName, format: string): void {
  if (open.family === 'image' && !imageFormats.includes(format))
    throw new OptionError(
      `--target ${target}: ${printable(open.name)} is a classifier of images, which --target onnx and transformers.js hold; choose one of them`,
      { code: 'PARE_E_FAMILY', facts: { model: open.name, target } },
    )
  if (open.family === 'bert' && !encoderFormats.includes(format))
    throw refused(open, `--target ${target}: holds language models, choose --target ${encoderTargets}`)
}

/**
 * Encoders read passages, not pages: many short samples have more beginnings and more words than a few long ones. On
 * MiniLM 256 of 80 tokens lose 0.0080 of the cosine at 4 bits, 128 of 160 lose 0.0100, 40 of 254 lose 0.0132.
 */
export const usualSamples = { samples: 256, length: 80 } as const

/**
 * The same options for a language model. For an encoder: samples no longer than its texts, no continued prompts.
 *
 * @param given the options before defaults were filled in
 * @throws OptionError for what only language models have: a size by a mix of widths, a KL, prompts.
 */
export function forFamily(
  open: OpenCompressible,
  options: ResolvedCompressOptions,
  given: Pick<CompressOptions, 'samples' | 'length'>,
): ResolvedCompressOptions {
  if (open.family !== 'bert') return options
  checkEncoder(open, options)
  const longest = longestOf(open)
  return {
    ...options,
    samples: given.samples ?? usualSamples.samples,
    length: Math.min(given.length ?? usualSamples.length, longest),
    context: longest,
    sideBySide: false,
    speed: false,
  }
}

/** Tokens of a text, special ones included. */
function longestOf({ model, path }: OpenTextEncoder): number {
  const { context } = model.config
  return Math.min(readSentenceSettings(path).longest ?? context, context)
}

function checkEncoder(open: OpenTextEncoder, options: ResolvedCompressOptions): void {
  const refuse = (what: string) => refused(open, what)
  if (options.mix)
    throw refuse('--target-size, --target-bpw: widths are chosen for language models, name --bits')
  if (options.limits.maxKl !== undefined) throw refuse('--max-kl: logits have a KL, leave it out')
  const names = open.model.stages.flatMap(({ weights }) => weights)
  if (modelTunerOf(options.steps, names, options.seed))
    throw refuse('--model-epochs: logits have a KL, leave it out')
  if (options.sideBySide) throw refuse('--side-by-side: language models continue prompts, leave it out')
  if (options.speed) throw refuse('--speed: language models write tokens, leave it out')
}

const refused = (open: OpenTextEncoder, what: string): OptionError =>
  new OptionError(`${what}, and ${printable(open.name)} is a text encoder`, {
    code: 'PARE_E_NO_LANGUAGE_MODEL',
    facts: { model: open.name, family: open.family },
  })
