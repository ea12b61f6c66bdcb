/** Texts for small language models: English of two centuries, or the two short texts that come with Pare. */
import { readFileSync } from 'node:fs'
import { type Document, languageData } from '#src/data/assets/language.ts'
import { packTokens } from '#src/data/token_windows.ts'
import { createTokenizer } from '#src/formats/tokenizer/tokenizer.ts'
import { trainByteLevelBpe } from '#src/formats/tokenizer/train_byte_level_bpe.ts'

/** `addresses and novel`: State of the Union and Moby Dick, see `languageData`. `short texts`: those of `src/calibrate/text`. */
export type TextData = 'addresses and novel' | 'short texts'

export interface LanguageTokens {
  train: Uint32Array
  /** By the name of the part. */
  heldOut: ReadonlyMap<string, Uint32Array>
}

const known = new Map<string, LanguageTokens>()

/** Tokens of a byte-level BPE that is made from the training texts. */
export function languageTokens(
  data: TextData,
  vocabulary: number,
  assets: string | undefined,
): LanguageTokens {
  const key = `${data}\0${vocabulary}\0${assets}`
  const before = known.get(key)
  if (before) return before
  const { train, heldOut } = textsOf(data, assets)
  const tokenizer = createTokenizer(trainByteLevelBpe(train, { vocabulary }), (idOf) => ({
    eosIds: [idOf('<|endoftext|>')!],
  }))
  const tokens = {
    train: packTokens(train, tokenizer),
    heldOut: new Map([...heldOut].map(([part, texts]) => [part, packTokens(texts, tokenizer)])),
  }
  tokenizer.dispose()
  known.set(key, tokens)
  return tokens
}

function textsOf(data: TextData, assets: string | undefined) {
  if (data === 'short texts') {
    const read = (name: string) =>
      readFileSync(new URL(`../../src/calibrate/text/${name}.txt`, import.meta.url), 'utf8')
    return { train: [read('calibration')], heldOut: new Map([['all', [read('evaluation')]]]) }
  }
  const { train, heldOut } = languageData({ assets: assets! })
  const part = (of: (document: Document) => boolean) => heldOut.filter(of).map(({ text }) => text)
  return {
    train: train.map(({ text }) => text),
    // Old and modern English differ.
    heldOut: new Map([
      ['addresses to 1900', part(({ kind, year }) => kind === 'address' && year <= 1900)],
      ['addresses after 1900', part(({ kind, year }) => kind === 'address' && year > 1900)],
      ['novel', part(({ kind }) => kind === 'novel')],
    ]),
  }
}
