/** The part of the OBC experiment on four blocks of SmolLM2: its distance from the source, as in the GPTQ experiment. */
import { join } from 'node:path'
import type { LayerGrams } from '#src/calibrate/layer_grams.ts'
import { drawSamples, readTokens } from '#src/calibrate/text_samples.ts'
import { languageMetrics } from '#src/metrics/language.ts'
import { cutWindows, tokensOfWindows, type Windows } from '#src/metrics/windows.ts'
import { Llama } from '#src/models/llama/llama.ts'
import { loadLanguageModel } from '#src/models/load_model.ts'
import type { OpenLanguageModel } from '#src/models/open_model.ts'
import type { Tensor } from '#src/tensor/index.ts'
import { gramsOfWalk, withWeights } from './obc_methods.ts'

export interface LanguageSetup {
  samples: number
  length: number
  context: number
  windows: number
  every: number
}

export interface LanguageScores {
  /** Nats a token, from the source to the result; its error is that of the mean over windows. */
  kl: number
  klStandardError: number
  /** Share of tokens after which both have the same likeliest one. */
  top1: number
}

export const languageMatrices = 'of blocks 0, 10, 20 and 29'
const isInBlocks = (name: string) => /\.(0|10|20|29)\./.test(name)

export interface LanguageLab {
  open: OpenLanguageModel
  layers: readonly LayerGrams[]
  windows: Windows
}

export async function openLanguage(
  assets: string,
  speeches: readonly string[],
  { samples, length, context, windows: count, every }: LanguageSetup,
  seed: number,
): Promise<LanguageLab> {
  const open = await loadLanguageModel(join(assets, 'models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'))
  const tokenizer = open.tokenizer()
  const read = (files: readonly string[], most?: number) =>
    readTokens(
      files,
      { tokenizer, chatTemplates: open.chatTemplates() },
      most === undefined ? {} : { tokens: most },
    )
  const drawn = drawSamples(read([join(assets, 'data/text-moby-dick/data/data.txt')]), {
    samples,
    length,
    seed,
  })
  const options = { context, count, every }
  const windows = cutWindows(read(speeches, tokensOfWindows(options)), { ...options, bos: tokenizer.bosId })
  if (windows.windows.length < count) throw new Error(`the text holds fewer than ${count} windows`)
  return { open, layers: await gramsOfWalk(open, drawn.samples, isInBlocks), windows }
}

export async function scoreLanguage(
  { open, windows }: LanguageLab,
  weights: ReadonlyMap<string, Tensor>,
): Promise<LanguageScores> {
  const model = new Llama(open.model.config, withWeights(open.weights, weights))
  const { kl, klStandardError, top1 } = await languageMetrics({ model, against: open.model, windows })
  return { kl: kl!, klStandardError: klStandardError!, top1: top1! }
}
