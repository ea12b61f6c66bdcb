/** Measures how much each input of a model's weights is used, for `--imatrix` and for llama-quantize. */
import { existsSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { InputSquares } from '../calibrate/input_squares.ts'
import { defaultCalibrationText, drawSamples, readTokens } from '../calibrate/text_samples.ts'
import { walk } from '../calibrate/walk.ts'
import { writeImatrix } from '../formats/gguf/imatrix.ts'
import { checkTexts } from '../formats/text_file.ts'
import { imatrixOf } from '../models/llama/importance.ts'
import { loadLanguageModel } from '../models/load_model.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { fetchProgress, type RunHooks } from './evaluate.ts'
import { checkPlace } from './output_place.ts'

export interface ImportanceOptions {
  /** A path, `pypi:NAME==V`, `npm:NAME@V` or `hf:ORG/NAME`. */
  model: string
  /** The file that is written. */
  output: string
  /** Text or JSONL files to measure with. @default the text that comes with Pare */
  calibration?: readonly string[]
  /** Pieces of the text. @default 40 */
  samples?: number
  /** Tokens a piece. @default 512 */
  length?: number
  /** Which pieces are drawn. @default 0 */
  seed?: number
  /** Replaces a file. @default false */
  overwrite?: boolean
  /** Uses only what is on disk. @default false */
  offline?: boolean
}

export interface MeasuredImportance {
  model: string
  output: string
  /** Weights whose inputs were measured. */
  weights: number
  tokens: number
  notes: readonly string[]
}

/**
 * Writes the importance matrix of a model as a GGUF file that llama.cpp reads too: for every linear weight the sum of the
 * squares of each input over all tokens, of the model as it is.
 *
 * @throws OptionError where the output is there already, or the text is shorter than one piece.
 * @example await measureImportance({ model: 'model.gguf', output: 'imatrix.gguf', calibration: ['book.txt'] })
 */
export async function measureImportance(
  options: ImportanceOptions,
  { progress, signal }: RunHooks = {},
): Promise<MeasuredImportance> {
  const { samples: count = 40, length = 512, seed = 0, output } = options
  checkFile(output, options.overwrite ?? false)
  const files = options.calibration ?? [defaultCalibrationText()]
  checkTexts(files)
  const model = await loadLanguageModel(options.model, {
    signal,
    offline: options.offline || undefined,
    progress: fetchProgress(progress),
  })
  try {
    const tokens = readTokens(files, { tokenizer: model.tokenizer(), chatTemplates: model.chatTemplates() })
    const { samples, note } = drawSamples(tokens, { samples: count, length, seed })
    const statistics = new Map<string, InputSquares>()
    const { stages } = model.model
    await walk({
      model: model.model,
      samples,
      visitor: {
        observe(linears, x) {
          const [{ name }] = linears as [(typeof linears)[number]]
          const squares = statistics.get(name) ?? new InputSquares(x.extent(-1))
          squares.add(x)
          for (const linear of linears) statistics.set(linear.name, squares)
        },
      },
      signal,
      progress: (stage, share) =>
        progress?.({
          kind: 'progress',
          phase: 'calibrate',
          // The inputs of the first group are read, then every group runs.
          share: (stage + Math.min(1, share / 5)) / stages.length,
          text: stages[stage]!.name,
        }),
    })
    const imatrix = imatrixOf(statistics, {
      datasets: files.map((file) => basename(file)),
      chunks: samples.length,
      chunkSize: length,
    })
    writeImatrix(output, imatrix)
    return {
      model: options.model,
      output,
      weights: statistics.size,
      tokens: samples.reduce((sum, { length: own }) => sum + own, 0),
      notes: note === undefined ? [] : [`calibration: ${note}`],
    }
  } finally {
    model.close()
  }
}

function checkFile(output: string, overwrite: boolean): void {
  if (typeof output !== 'string' || output === '')
    throw new OptionError('--output: the name of a file is needed, got nothing; imatrix.gguf is usual')
  if (existsSync(output) && !overwrite)
    throw new OptionError(
      `--output: ${printable(output)} is there already; name another file or give --overwrite`,
      { code: 'PARE_E_OUTPUT', facts: { output } },
    )
  checkPlace(dirname(resolve(output)))
}
