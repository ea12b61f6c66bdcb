/**
 * The tokenizer in a GGUF file's metadata, as a tokenizer.json.
 *
 *   gpt2    byte-level BPE: tokens in their printable form, ranked merges, a named pre-tokeniser
 *   llama   SentencePiece BPE: tokens with U+2581 for blanks, scores, bytes as <0xNN>
 *
 * Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Token types: 1 normal, 2 unknown,
 * 3 control, 4 user defined, 5 unused, 6 byte.
 * GGUF names no normaliser: where the original composes characters first (NFC, as Qwen 2 does), the ids of
 * decomposed text are llama.cpp's, not the original's.
 */
import { FormatError, printable } from '../../tensor/errors.ts'
import type { GgufMetadata } from '../gguf/metadata.ts'
import { boolOf, idOf, numbersOf, PREFIX, stringOf, stringsOf, wrongValue } from './gguf_values.ts'
import { preTokenizerOf } from './pre_tokenizers.ts'
import { mergesFromScores } from './sentencepiece_merges.ts'
import type { SpecialIds } from './special_tokens.ts'
import { createTokenizer, type Tokenizer } from './tokenizer.ts'
import type { AddedToken, JsonRecord } from './tokenizer_json.ts'

export const TokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

/** What a hole in the vocabulary is called, as other converters call it. */
export const unusedToken = (id: number) => `[PAD${id}]`

/**
 * The tokenizer of a GGUF file.
 *
 * @throws FormatError if the model, its pre-tokeniser or its lists cannot be used.
 * @example ggufTokenizer(openGguf('model.gguf').metadata).encode('Hello world!')
 */
export function ggufTokenizer(metadata: GgufMetadata): Tokenizer {
  const { json, special } = tokenizerJsonOfGguf(metadata)
  return createTokenizer(json, () => special)
}

/** The text of a tokenizer.json that gives the same ids, and the special ids that it cannot hold. */
export function tokenizerJsonOfGguf(metadata: GgufMetadata): { json: string; special: SpecialIds } {
  const model = stringOf(metadata, `${PREFIX}model`)
  const vocabulary = readVocabulary(metadata)
  const special = readSpecialIds(metadata, vocabulary.tokens.length)
  const parts =
    model === 'gpt2'
      ? byteLevelParts(metadata, vocabulary)
      : model === 'llama'
        ? sentencePieceParts(metadata, vocabulary, special)
        : undefined
  if (!parts)
    throw new FormatError(
      `${PREFIX}model: gpt2 or llama is needed, found ${model === undefined ? 'nothing' : printable(model)}; use the model's tokenizer.json instead`,
      { code: 'PARE_E_TOKENIZER_MODEL', facts: { model: model ?? '' } },
    )
  const { addsBos, ...rest } = parts
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    ...rest,
    post_processor: template(vocabulary.tokens, {
      first: (boolOf(metadata, `${PREFIX}add_bos_token`) ?? addsBos) ? special.bosId : undefined,
      last: (boolOf(metadata, `${PREFIX}add_eos_token`) ?? false) ? special.eosIds[0] : undefined,
    }),
  }
  return { json: JSON.stringify(json), special }
}

interface Vocabulary {
  tokens: readonly string[]
  types: ArrayLike<number>
}

interface Parts {
  normalizer: JsonRecord | null
  pre_tokenizer: JsonRecord | null
  decoder: JsonRecord
  model: JsonRecord
  addsBos: boolean
}

function readVocabulary(metadata: GgufMetadata): Vocabulary {
  const key = `${PREFIX}tokens`
  const tokens = stringsOf(metadata, key)
  if (!tokens?.length) throw wrongValue(key, 'a list of tokens', 'found none')
  const seen = new Map<string, number>()
  for (const [id, token] of tokens.entries()) {
    const other = seen.get(token)
    if (other !== undefined)
      throw wrongValue(
        key,
        'a list without repeats',
        `tokens ${other} and ${id} are both "${printable(token)}"`,
      )
    seen.set(token, id)
  }
  const types = numbersOf(metadata, `${PREFIX}token_type`, tokens.length)
  return { tokens, types: types ?? new Int32Array(tokens.length).fill(TokenType.normal) }
}

function readSpecialIds(metadata: GgufMetadata, size: number): SpecialIds {
  const id = (name: string) => idOf(metadata, `${PREFIX}${name}_token_id`, size)
  const [bosId, unknownId, paddingId] = [id('bos'), id('unknown'), id('padding')]
  const ends = [id('eos'), id('eot'), id('eom')].filter((end) => end !== undefined)
  return {
    ...(bosId !== undefined && { bosId }),
    eosIds: [...new Set(ends)],
    ...(unknownId !== undefined && { unknownId }),
    ...(paddingId !== undefined && { paddingId }),
  }
}

/** Control, unknown and user-defined tokens are found in the text before anything else is done with it. */
function addedTokens({ tokens, types }: Vocabulary): AddedToken[] {
  const added: number[] = [TokenType.unknown, TokenType.control, TokenType.userDefined]
  return [...tokens.entries()]
    .filter(([id, content]) => added.includes(types[id]!) && content !== '')
    .map(([id, content]) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: types[id] !== TokenType.userDefined,
    }))
}

/** Token to id; holes, which have the type and the name of one, stay out. */
function vocabularyRecord({ tokens, types }: Vocabulary): Record<string, number> {
  const kept = [...tokens.entries()].filter(
    ([id, token]) => types[id] !== TokenType.unused || token !== unusedToken(id),
  )
  return Object.fromEntries(kept.map(([id, token]) => [token, id]))
}

function byteLevelParts(metadata: GgufMetadata, vocabulary: Vocabulary): Parts {
  // Files from before the key existed mean the default, as llama.cpp reads them.
  const pre = preTokenizerOf(stringOf(metadata, `${PREFIX}pre`) ?? 'default')
  const decoder = { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true }
  return {
    normalizer: null,
    pre_tokenizer: pre.part,
    decoder,
    model: bpe(vocabulary, { merges: readMerges(metadata, vocabulary), ignore_merges: pre.ignoreMerges }),
    addsBos: pre.addsBos,
  }
}

function readMerges(metadata: GgufMetadata, { tokens }: Vocabulary): [string, string][] {
  const key = `${PREFIX}merges`
  const lines = stringsOf(metadata, key)
  if (!lines?.length) throw wrongValue(key, 'a list of merges', 'found none')
  const known = new Set(tokens)
  return lines.map((line, rank) => {
    // A byte-level token holds no blank; a merge of other tokens may begin with one.
    const cut = line.indexOf(' ', 1)
    const [left, right] = [line.slice(0, cut), line.slice(cut + 1)]
    if (cut < 1 || !known.has(left) || !known.has(right) || !known.has(left + right))
      throw wrongValue(key, 'two tokens whose union is a token', `merge ${rank} is "${printable(line)}"`)
    return [left, right]
  })
}

function bpe(vocabulary: Vocabulary, special: JsonRecord): JsonRecord {
  return {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: vocabularyRecord(vocabulary),
    ...special,
  }
}

function sentencePieceParts(
  metadata: GgufMetadata,
  vocabulary: Vocabulary,
  { unknownId }: SpecialIds,
): Parts {
  const { tokens, types } = vocabulary
  const key = `${PREFIX}scores`
  const scores = numbersOf(metadata, key, tokens.length)
  if (!scores) throw wrongValue(key, 'a score for every token', 'found none')
  const normal = [...tokens.keys()].filter((id) => types[id] === TokenType.normal)
  const bytes = [...tokens.keys()].filter((id) => types[id] === TokenType.byte)
  const prefix = boolOf(metadata, `${PREFIX}add_space_prefix`) ?? true
  const unknown = unknownId ?? [...tokens.keys()].find((id) => types[id] === TokenType.unknown)
  return {
    ...sentencePieceSpaces(prefix),
    pre_tokenizer: null,
    model: bpe(vocabulary, {
      unk_token: unknown === undefined ? null : tokens[unknown]!,
      fuse_unk: true,
      byte_fallback: bytes.length > 0,
      merges: mergesFromScores(tokens, scores, normal),
    }),
    addsBos: true,
  }
}

/** Blanks become U+2581, with one more at the start of each text between special tokens where `prefix` says so. */
export function sentencePieceSpaces(prefix: boolean): { normalizer: JsonRecord; decoder: JsonRecord } {
  const mark = { type: 'Replace', pattern: { String: ' ' }, content: '\u2581' }
  const blank = { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' }
  const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 }
  return {
    normalizer: prefix
      ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '\u2581' }, mark] }
      : mark,
    decoder: {
      type: 'Sequence',
      decoders: [blank, { type: 'ByteFallback' }, { type: 'Fuse' }, ...(prefix ? [strip] : [])],
    },
  }
}

/** Adds the given tokens around a text. */
function template(
  tokens: readonly string[],
  { first, last }: { first: number | undefined; last: number | undefined },
): JsonRecord | null {
  if (first === undefined && last === undefined) return null
  const item = (id: number | undefined, type_id: number) =>
    id === undefined ? [] : [{ SpecialToken: { id: tokens[id]!, type_id } }]
  const around = (sequence: string, type_id: number) => [
    ...item(first, type_id),
    { Sequence: { id: sequence, type_id } },
    ...item(last, type_id),
  ]
  const used = [first, last].filter((id) => id !== undefined)
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      used.map((id) => [tokens[id]!, { id: tokens[id]!, ids: [id], tokens: [tokens[id]!] }]),
    ),
  }
}
