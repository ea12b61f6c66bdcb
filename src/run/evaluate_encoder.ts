/** Evaluates a text encoder against its source, and whatever model `pare eval` is given. */
import type { EmbeddingMetrics } from '../metrics/embeddings.ts'
import { loadModel } from '../models/load_model.ts'
import { languageModel, type OpenModel, type OpenTextEncoder, textEncoder } from '../models/open_model.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { compareEncoders, evaluationPassages } from './compare_vectors.ts'
import {
  type EvaluateOptions,
  type Evaluation,
  evaluateLanguage,
  type RunHooks,
  withModels,
} from './evaluate.ts'

export interface EncoderEvaluation extends EmbeddingMetrics {
  model: string
  against: string
  notes: readonly string[]
}

/**
 * Mean and least cosine of an encoder's vectors to those of the encoder that `against` names, over passages of the text:
 * `windows` of them, 60 words each. One of the two is in memory at a time.
 *
 * @throws OptionError without `against`, where a model is no text encoder or gives vectors of another width, for what
 * only windows of tokens have (`context`, `every`, `protocol`), and where the text has not the words of one passage.
 * @example await evaluateEncoder({ model: 'smaller', against: 'all-MiniLM-L6-v2', windows: 100 })
 */
export const evaluateEncoder = (options: EvaluateOptions, hooks: RunHooks = {}): Promise<EncoderEvaluation> =>
  withModels(options, hooks, loadModel, (model, against) =>
    compareOpen(textEncoder(model), against && textEncoder(against), options, hooks),
  )

/** What the family of the model is evaluated on: `evaluate` or `evaluateEncoder`. */
export const evaluateAny = (
  options: EvaluateOptions,
  hooks: RunHooks = {},
): Promise<Evaluation | EncoderEvaluation> =>
  withModels<OpenModel, Evaluation | EncoderEvaluation>(options, hooks, loadModel, (model, against) =>
    model.family === 'bert'
      ? compareOpen(model, against && textEncoder(against), options, hooks)
      : evaluateLanguage(model, against && languageModel(against), options, hooks),
  )

async function compareOpen(
  model: OpenTextEncoder,
  against: OpenTextEncoder | undefined,
  options: EvaluateOptions,
  hooks: RunHooks,
): Promise<EncoderEvaluation> {
  const { windows } = options
  checkOptions(options)
  if (!against)
    throw new OptionError(
      `${printable(model.name)}: a text encoder has no perplexity, its vectors are compared with those of another encoder; name its source with --against`,
      { code: 'PARE_E_NO_AGAINST', facts: { model: model.name } },
    )
  checkWidths(model, against)
  const { texts, note } = evaluationPassages(against, { text: options.text, windows })
  const metrics = await compareEncoders(model, against, texts, hooks)
  return { model: options.model, against: options.against!, ...metrics, notes: note ? [note] : [] }
}

function checkOptions({ windows = 1, context, every, protocol }: EvaluateOptions): void {
  if (!Number.isInteger(windows) || windows < 1)
    throw new OptionError(`--windows: a whole number from 1 on is needed, got ${windows}`)
  const [name] = Object.entries({ context, every, protocol }).find(([, value]) => value !== undefined) ?? []
  if (name !== undefined)
    throw new OptionError(
      `--${name}: is for windows of tokens, a text encoder is compared on passages of words; leave it out`,
      { code: 'PARE_E_NO_LANGUAGE_MODEL', facts: { option: name } },
    )
}

function checkWidths(model: OpenTextEncoder, against: OpenTextEncoder): void {
  const [a, b] = [model.model.config.hidden, against.model.config.hidden]
  if (a !== b)
    throw new OptionError(
      `--against: vectors of the same width are needed, got ${a} numbers of ${printable(model.name)} and ${b} of ${printable(against.name)}; name the encoder that the model was made from`,
      { code: 'PARE_E_VECTOR_WIDTHS', facts: { width: a, widthAgainst: b } },
    )
}
