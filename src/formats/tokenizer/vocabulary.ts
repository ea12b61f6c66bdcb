/** The vocabulary of a tokenizer.json without the native core: enough to plan a file that will hold it. */
import { join } from 'node:path'
import { FormatError, printable, SourceError } from '../../tensor/errors.ts'
import { isRecord } from '../json.ts'
import { specialIds } from './special_tokens.ts'
import { readJsonFile, readText, type Tokenizer } from './tokenizer.ts'
import { isId, LARGEST_TOKENIZER_BYTES, parseTokenizerJson } from './tokenizer_json.ts'

/** What of a tokenizer is known from its files alone. */
export type Vocabulary = Pick<
  Tokenizer,
  'vocabularySize' | 'idOf' | 'json' | 'bosId' | 'eosIds' | 'unknownId' | 'paddingId'
>

/**
 * The vocabulary of a text of tokenizer.json. An added token that the model does not have gets the next free id, as
 * the tokenizers library counts, whatever the file says.
 *
 * @throws FormatError if the text is no tokenizer.json with a BPE vocabulary.
 */
export function parseVocabulary(json: string): { idOf: (token: string) => number | undefined; size: number } {
  const { model, added_tokens } = parseTokenizerJson(json)
  const entries = Object.entries(isRecord(model.vocab) ? model.vocab : {})
  const ids = new Map<string, number>()
  for (const [token, id] of entries) {
    if (!isId(id))
      throw new FormatError(
        `tokenizer.json: token "${printable(token)}" has no id; get the file of the model again`,
      )
    ids.set(token, id)
  }
  let next = entries.length
  let size = entries.reduce((most, [, id]) => Math.max(most, (id as number) + 1), 0)
  for (const { content } of added_tokens) {
    if (content === '' || ids.has(content)) continue
    ids.set(content, next)
    next += 1
    size = Math.max(size, next)
  }
  return { idOf: (token) => ids.get(token), size }
}

/**
 * The vocabulary and special ids of a Hugging Face folder; the same as those of `loadTokenizer`.
 *
 * @throws SourceError if there is no tokenizer.json, FormatError if a file is damaged.
 */
export function loadVocabulary(folder: string): Vocabulary {
  const path = join(folder, 'tokenizer.json')
  const json = readText(path, LARGEST_TOKENIZER_BYTES)
  if (json === undefined) {
    throw new SourceError(`${printable(path)}: is missing; the folder needs a tokenizer.json`, {
      code: 'PARE_E_TOKENIZER_MISSING',
      facts: { path },
    })
  }
  const { idOf, size } = parseVocabulary(json)
  const file = (name: string) => readJsonFile(join(folder, name))
  const special = specialIds(
    {
      tokenizerConfig: file('tokenizer_config.json'),
      specialTokensMap: file('special_tokens_map.json'),
      generationConfig: file('generation_config.json'),
      config: file('config.json'),
    },
    idOf,
  )
  return { ...special, vocabularySize: size, idOf, json: () => json }
}
