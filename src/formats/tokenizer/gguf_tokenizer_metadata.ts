/** A tokenizer as the metadata of a GGUF file: the other direction of `gguf_tokenizer.ts`. */
import { FormatError, OptionError, printable } from '../../tensor/errors.ts'
import { type GgufValue, gguf } from '../gguf/metadata.ts'
import { isRecord } from '../json.ts'
import { TokenType, unusedToken } from './gguf_tokenizer.ts'
import { PREFIX } from './gguf_values.ts'
import { detectPre } from './pre_tokenizers.ts'
import { scoresFromMerges } from './sentencepiece_merges.ts'
import { isId, membersOf, parseTokenizerJson, type TokenizerJson } from './tokenizer_json.ts'
import type { Vocabulary } from './vocabulary.ts'

export interface GgufTokenizerOptions {
  /** Rows of the embedding; ids that the tokenizer lacks become unused tokens. @default its vocabulary size */
  vocabularySize?: number
  /** A Jinja template, stored as it is. @default none */
  chatTemplate?: string
}

export interface GgufTokenizerMetadata {
  /** In the order in which other converters write them. */
  metadata: Map<string, GgufValue>
  /** What GGUF has no key for, one sentence each; show them to the user. */
  losses: string[]
}

/**
 * Metadata entries for a byte-level or SentencePiece BPE tokenizer.
 *
 * @throws FormatError if GGUF cannot say what the tokenizer does, OptionError if the embedding is too small.
 * @example ggufTokenizerMetadata(loadTokenizer(folder), { vocabularySize: config.vocab_size })
 */
export function ggufTokenizerMetadata(
  tokenizer: Vocabulary,
  { vocabularySize = tokenizer.vocabularySize, chatTemplate }: GgufTokenizerOptions = {},
): GgufTokenizerMetadata {
  const json = parseTokenizerJson(tokenizer.json())
  if (json.model.type !== undefined && json.model.type !== 'BPE')
    throw unsupported(`GGUF export knows BPE tokenizers, found ${printable(String(json.model.type))}`)
  if (!Number.isInteger(vocabularySize) || vocabularySize < tokenizer.vocabularySize)
    throw new OptionError(
      `vocabularySize: the tokenizer has ids up to ${tokenizer.vocabularySize - 1}, got ${vocabularySize}; give the rows of the embedding`,
      { code: 'PARE_E_VOCABULARY_SIZE', facts: { vocabularySize, needed: tokenizer.vocabularySize } },
    )
  const byteLevel = membersOf(json.decoder).some(({ type }) => type === 'ByteLevel')
  const vocabulary = collectTokens(json, tokenizer, vocabularySize, byteLevel)
  const metadata = new Map<string, GgufValue>()
  const put = (name: string, value: GgufValue) => metadata.set(`${PREFIX}${name}`, value)
  put('model', gguf.string(byteLevel ? 'gpt2' : 'llama'))
  if (byteLevel) put('pre', gguf.string(detectPre(json)))
  put('tokens', gguf.strings(vocabulary.tokens))
  if (!byteLevel) put('scores', { type: 'array', element: 'f32', value: scoresOf(json, vocabulary) })
  put('token_type', { type: 'array', element: 'i32', value: vocabulary.types })
  if (byteLevel)
    put('merges', { type: 'array', element: 'string', value: mergesOf(json).map((pair) => pair.join(' ')) })
  const ids = {
    bos: tokenizer.bosId,
    eos: tokenizer.eosIds[0],
    unknown: tokenizer.unknownId,
    padding: tokenizer.paddingId,
  }
  for (const [name, id] of Object.entries(ids)) if (id !== undefined) put(`${name}_token_id`, gguf.u32(id))
  const { first, last } = templateIds(json)
  put('add_bos_token', { type: 'bool', value: first !== undefined && first === tokenizer.bosId })
  if (last !== undefined && last === tokenizer.eosIds[0]) put('add_eos_token', gguf.bool(true))
  put('add_space_prefix', { type: 'bool', value: byteLevel ? false : addsSpacePrefix(json) })
  if (chatTemplate !== undefined) metadata.set('tokenizer.chat_template', gguf.string(chatTemplate))
  return { metadata, losses: lossesOf(json, tokenizer, byteLevel, { first, last }) }
}

const unsupported = (what: string) =>
  new FormatError(`tokenizer.json: ${what}; export to a folder instead`, { code: 'PARE_E_TOKENIZER_MODEL' })

interface Collected {
  tokens: string[]
  types: Int32Array
}

function collectTokens(
  json: TokenizerJson,
  tokenizer: Vocabulary,
  size: number,
  byteLevel: boolean,
): Collected {
  const tokens = Array.from({ length: size }, (_, id) => unusedToken(id))
  const types = new Int32Array(size).fill(TokenType.unused)
  for (const [token, id] of Object.entries(isRecord(json.model.vocab) ? json.model.vocab : {})) {
    if (!isId(id)) throw unsupported(`token "${printable(token)}" has no id`)
    tokens[id] = token
    types[id] = !byteLevel && /^<0x[0-9A-F]{2}>$/.test(token) ? TokenType.byte : TokenType.normal
  }
  for (const { content, special } of json.added_tokens) {
    // The core numbers added tokens itself where the vocabulary does not, so its id counts.
    const id = tokenizer.idOf(content)
    if (id === undefined) continue
    tokens[id] = content
    types[id] = special ? TokenType.control : TokenType.userDefined
  }
  const unknown = typeof json.model.unk_token === 'string' ? tokenizer.idOf(json.model.unk_token) : undefined
  if (!byteLevel && unknown !== undefined) types[unknown] = TokenType.unknown
  return { tokens, types }
}

function mergesOf({ model }: TokenizerJson): [string, string][] {
  if (!Array.isArray(model.merges)) throw unsupported('has no merges')
  return model.merges.map((merge: unknown, rank) => {
    const [left, right, more] =
      typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : []
    if (typeof left === 'string' && typeof right === 'string' && more === undefined) return [left, right]
    throw unsupported(`merge ${rank} is not two tokens`)
  })
}

function scoresOf(json: TokenizerJson, { tokens, types }: Collected): Float32Array {
  const normal = [...tokens.keys()].filter((id) => types[id] === TokenType.normal)
  const scores = scoresFromMerges(tokens, mergesOf(json), normal)
  if (scores) return scores
  throw unsupported('its merges are not those of a SentencePiece model, which GGUF stores as scores')
}

interface AddedIds {
  first: number | undefined
  last: number | undefined
}

/** First and last token of the post-processor's template for one text. */
function templateIds({ post_processor }: TokenizerJson): AddedIds {
  const template = membersOf(post_processor).find(({ type }) => type === 'TemplateProcessing')
  const single = Array.isArray(template?.single) ? template.single : []
  const specials = isRecord(template?.special_tokens) ? template.special_tokens : {}
  const idAt = (item: unknown) => {
    const token = isRecord(item) && isRecord(item.SpecialToken) ? String(item.SpecialToken.id) : undefined
    const entry = token === undefined ? undefined : specials[token]
    const ids = isRecord(entry) && Array.isArray(entry.ids) ? entry.ids : []
    return isId(ids[0]) ? ids[0] : undefined
  }
  return { first: idAt(single[0]), last: single.length > 1 ? idAt(single.at(-1)) : undefined }
}

function addsSpacePrefix({ normalizer, pre_tokenizer }: TokenizerJson): boolean {
  const steps = [...membersOf(normalizer), ...membersOf(pre_tokenizer)]
  return steps.some(
    (step) =>
      step.type === 'Prepend' ||
      (step.type === 'Metaspace' && step.prepend_scheme !== 'never' && step.add_prefix_space !== false),
  )
}

function lossesOf(
  json: TokenizerJson,
  { bosId, eosIds }: Vocabulary,
  byteLevel: boolean,
  { first, last }: AddedIds,
): string[] {
  const losses: string[] = []
  const spaces = ['Prepend', 'Replace']
  const normalizers = membersOf(json.normalizer).filter(({ type }) => byteLevel || !spaces.includes(type))
  if (normalizers.length > 0)
    losses.push(`the normaliser ${normalizers.map(({ type }) => printable(type)).join(', ')} is left out`)
  const flagged = json.added_tokens.filter((t) => t.lstrip || t.rstrip || t.single_word)
  if (flagged.length > 0)
    losses.push(`${flagged.length} added tokens no longer take blanks or word borders into account`)
  if (eosIds.length > 1) losses.push(`of ${eosIds.length} ids that end a text the first is kept`)
  if ((first !== undefined && first !== bosId) || (last !== undefined && last !== eosIds[0]))
    losses.push('the post-processor adds other tokens than the beginning and the end of text')
  const metaspace = membersOf(json.pre_tokenizer).find(({ type }) => type === 'Metaspace')
  if (metaspace?.prepend_scheme === 'first')
    losses.push('a blank is added after every special token, not only at the start of the text')
  return losses
}
