/**
 * The parts of a tokenizer.json that Pare itself looks at; the native core reads the file as a whole.
 * Format: https://github.com/huggingface/tokenizers, all parts may be null.
 */
import { FormatError } from '../../tensor/errors.ts'
import { isRecord, strictJson } from '../json.ts'

export type JsonRecord = Record<string, unknown>

export interface AddedToken {
  id: number
  content: string
  single_word: boolean
  lstrip: boolean
  rstrip: boolean
  normalized: boolean
  special: boolean
}

/** A part with a type: `{ type: 'ByteLevel', ... }`. */
export type TypedPart = JsonRecord & { type: string }

export interface TokenizerJson {
  added_tokens: AddedToken[]
  normalizer: TypedPart | null
  pre_tokenizer: TypedPart | null
  post_processor: TypedPart | null
  decoder: TypedPart | null
  model: JsonRecord
}

/** Four times the largest known, of 262144 tokens with 514906 merges; a file above it is refused before it is read. */
export const LARGEST_TOKENIZER_BYTES = 1 << 27

/** That of 262144 tokens counts as 96 MB, however it is laid out. */
const MOST_MEMORY = 1 << 28

const notATokenizer = (what: string) =>
  new FormatError(`tokenizer.json: ${what}; get the file of the model again`, {
    code: 'PARE_E_TOKENIZER_JSON',
  })

/**
 * Reads the parts out of the text; unknown fields stay out.
 *
 * @throws FormatError if it is not JSON or would take more than 256 MiB, a part is missing, or its rules could blow texts
 *   up without bound.
 */
export function parseTokenizerJson(text: string): TokenizerJson {
  if (text.length > LARGEST_TOKENIZER_BYTES)
    throw notATokenizer(`has ${text.length} characters, at most ${LARGEST_TOKENIZER_BYTES} are read`)
  let json: unknown
  try {
    json = strictJson('tokenizer.json', text, { memory: MOST_MEMORY })
  } catch (cause) {
    throw new FormatError((cause as Error).message, { code: 'PARE_E_TOKENIZER_JSON', cause })
  }
  if (!isRecord(json) || !isRecord(json.model)) throw notATokenizer('has no model')
  const parts = {
    added_tokens: addedTokens(json.added_tokens ?? []),
    normalizer: part(json, 'normalizer'),
    pre_tokenizer: part(json, 'pre_tokenizer'),
    post_processor: part(json, 'post_processor'),
    decoder: part(json, 'decoder'),
    model: json.model,
  }
  checkGrowth(parts)
  return parts
}

function part(json: JsonRecord, name: string): TypedPart | null {
  const value = json[name] ?? null
  if (value === null) return null
  if (isRecord(value) && typeof value.type === 'string') return value as TypedPart
  throw notATokenizer(`has a ${name} without a type`)
}

/** Known ones stay below 100. The table that finds them takes time by the square of a long one. */
const LONGEST_ADDED_TOKEN = 512

function addedTokens(list: unknown): AddedToken[] {
  if (!Array.isArray(list)) throw notATokenizer('has added_tokens that are no list')
  return list.map((token) => {
    if (!isRecord(token) || typeof token.content !== 'string' || !isId(token.id))
      throw notATokenizer('has an added token without id and content')
    const bytes = Buffer.byteLength(token.content)
    if (bytes > LONGEST_ADDED_TOKEN)
      throw notATokenizer(`has an added token of ${bytes} bytes, at most ${LONGEST_ADDED_TOKEN} are read`)
    const flag = (name: string) => token[name] === true
    return {
      id: token.id,
      content: token.content,
      single_word: flag('single_word'),
      lstrip: flag('lstrip'),
      rstrip: flag('rstrip'),
      normalized: flag('normalized'),
      special: flag('special'),
    }
  })
}

export const isId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32 - 1

/** Known files have one sequence in another at most. */
const DEEPEST_SEQUENCE = 16

/** The members of a Sequence, or the part alone. @throws FormatError where sequences nest without end. */
export function membersOf(part: TypedPart | null, depth = 0): TypedPart[] {
  if (part === null) return []
  if (part.type !== 'Sequence') return [part]
  if (depth >= DEEPEST_SEQUENCE) throw notATokenizer(`nests sequences more than ${DEEPEST_SEQUENCE} deep`)
  const lists = [part.normalizers, part.pretokenizers, part.processors, part.decoders]
  const list = lists.find(Array.isArray) ?? []
  return list
    .filter((p): p is TypedPart => isRecord(p) && typeof p.type === 'string')
    .flatMap((member) => membersOf(member, depth + 1))
}

/** Known files stay below 30: two byte-level steps, or one blank replaced by the three bytes of U+2581. */
const LARGEST_GROWTH = 1 << 12

/** A row of replacements could turn one character into more bytes than there is memory. */
function checkGrowth({ normalizer, pre_tokenizer, decoder }: Omit<TokenizerJson, 'model'>): void {
  for (const side of [[...membersOf(normalizer), ...membersOf(pre_tokenizer)], membersOf(decoder)]) {
    const growth = side.reduce((product, step) => product * growthOf(step), 1)
    if (growth > LARGEST_GROWTH)
      throw notATokenizer(
        `has replacements that can make a text ${growth.toExponential(1)} times as long, at most ${LARGEST_GROWTH} is allowed`,
      )
  }
}

function growthOf(step: TypedPart): number {
  const bytes = (value: unknown) => (typeof value === 'string' ? Buffer.byteLength(value) : 0)
  if (step.type === 'Replace') return 1 + bytes(step.content)
  if (step.type === 'Prepend') return 1 + bytes(step.prepend)
  return step.type === 'ByteLevel' ? 2 : 1
}
