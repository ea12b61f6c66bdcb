/** Tokens of the text of the zoo, for small language models. */
import { type Document, languageData } from '#src/data/assets/language.ts'
import { packTokens } from '#src/data/token_windows.ts'
import { createTokenizer } from '#src/formats/tokenizer/tokenizer.ts'
import { trainByteLevelBpe } from '#src/formats/tokenizer/train_byte_level_bpe.ts'
import { byEra } from './models/corpus.ts'

export interface LanguageTokens {
  train: Uint32Array
  /** By the name of the era: old and modern English differ. */
  heldOut: ReadonlyMap<string, Uint32Array>
}

const known = new Map<string, LanguageTokens>()

/** Tokens of a byte-level BPE that is made from the training texts. */
export function languageTokens(vocabulary: number, assets: string): LanguageTokens {
  const key = `${vocabulary}\0${assets}`
  const before = known.get(key)
  if (before) return before
  const { train, heldOut } = languageData({ assets })
  const texts = textsOf(train)
  const tokenizer = createTokenizer(trainByteLevelBpe(texts, { vocabulary }), (idOf) => ({
    eosIds: [idOf('<|endoftext|>')!],
  }))
  const tokens = {
    train: packTokens(texts, tokenizer),
    heldOut: new Map(
      byEra(heldOut).map(({ era, documents }) => [era, packTokens(textsOf(documents), tokenizer)]),
    ),
  }
  tokenizer.dispose()
  known.set(key, tokens)
  return tokens
}

const textsOf = (documents: readonly Document[]) => documents.map(({ text }) => text)
