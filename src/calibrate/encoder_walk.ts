/**
 * Text encoders as a walk sees them. Samples are texts of equal length with the special tokens around each, so that no
 * token of a batch is filling: every row that statistics sum is one of a text, and no score needs a mask.
 */
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import type { Bert } from '../models/bert/bert.ts'
import { frameOf } from '../models/bert/first_tokens.ts'
import { OptionError } from '../tensor/errors.ts'
import { drawSamples, type SampleOptions, type Samples } from './text_samples.ts'
import type { WalkModel } from './walk.ts'

/** @example await walk({ model: encoderWalk(open.model), samples, visitor }) */
export const encoderWalk = (model: Bert): WalkModel => ({
  stages: model.stages,
  embed: (ids, tokens) => model.embed(ids, tokens),
  context: () => ({}),
})

/**
 * Windows of a text that do not overlap, as `drawSamples` draws them, each with the special tokens of the model around.
 *
 * @param tokens of a text, without special ones
 * @param options `length` counts the special tokens of a sample too
 * @throws OptionError where no token of the text has room in a sample, or the text is shorter than one
 * @example drawFramedSamples(tokens, open.tokenizer(), { samples: 256, length: 80 })
 */
export function drawFramedSamples(
  tokens: Uint32Array,
  tokenizer: Tokenizer,
  { length = 256, ...options }: SampleOptions = {},
): Samples {
  const [before, after] = frameOf(tokenizer)
  const frame = before.length + after.length
  if (!(length > frame))
    throw new OptionError(
      `--length: needs ${frame + 1} at least, for ${frame} special tokens and one of a text, got ${length}; take longer samples`,
      { code: 'PARE_E_SAMPLE_LENGTH', facts: { needed: frame + 1, found: length } },
    )
  const drawn = drawSamples(tokens, { ...options, length: length - frame })
  return {
    ...drawn,
    samples: drawn.samples.map((ids) => Uint32Array.from([...before, ...ids, ...after])),
  }
}
