/** Text to ids and back: a tokenizer.json with the special ids that the files beside it name. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { binding } from '../../tensor/binding.ts'
import { FormatError, OptionError, printable, ResourceError, SourceError } from '../../tensor/errors.ts'
import { nativeFault } from '../../tensor/native.ts'
import { isRecord, strictJson } from '../json.ts'
import {
  type EncodeStream,
  type EncodeStreamOptions,
  encodeStream,
  type PartEncoder,
} from './encode_stream.ts'
import { partRules } from './part_rules.ts'
import { type SpecialIds, specialIds } from './special_tokens.ts'
import { byteStream, type TextStream, windowStream } from './text_stream.ts'
import { byteDecoder } from './token_bytes.ts'
import { type JsonRecord, LARGEST_TOKENIZER_BYTES, parseTokenizerJson } from './tokenizer_json.ts'

export interface EncodeOptions {
  /** Whether the post-processor adds its tokens, such as the beginning of the text. @default true */
  addSpecialTokens?: boolean
}

export interface DecodeOptions {
  /** Whether special tokens stay out of the text. @default false */
  skipSpecialTokens?: boolean
}

export interface Tokenizer extends Readonly<SpecialIds> {
  /** Highest id plus one; ids in between may be unused. */
  readonly vocabularySize: number
  /** Special tokens written in the text become their ids. Lone surrogates count as U+FFFD. */
  encode(text: string, options?: EncodeOptions): Uint32Array
  /** The same without special tokens around it, for a text that arrives bit by bit; each stream has its own state. */
  encodeStream(options?: EncodeStreamOptions): EncodeStream
  /** Bytes that are no UTF-8 become U+FFFD; ids without a token add nothing. */
  decode(ids: Iterable<number>, options?: DecodeOptions): string
  /** Text of ids that arrive one by one; never cuts a character. Each stream has its own state. */
  stream(options?: DecodeOptions): TextStream
  /** The id of a token in the vocabulary's own form, or undefined. */
  idOf(token: string): number | undefined
  /** The vocabulary's own form of an id, byte-level or with U+2581, or undefined. */
  token(id: number): string | undefined
  /** Readable text of one token alone, with its leading blank; U+FFFD where it is only a part of a character. */
  tokenText(id: number): string
  /** The bytes that a token adds to a text; empty for an unused id. */
  tokenBytes(id: number): Uint8Array
  /** Whether `skipSpecialTokens` leaves the id out. */
  isSpecial(id: number): boolean
  /** The tokenizer.json, as it was given. */
  json(): string
  /** Frees the native memory now; otherwise it goes with the object. */
  dispose(): void
}

const releases = new FinalizationRegistry((handle: number) => binding().tokenizerRelease(handle))

/**
 * Makes a tokenizer from the text of a tokenizer.json. Truncation and padding in the file are not applied.
 *
 * `special` gets the vocabulary and names the special ids. @default none
 *
 * @throws FormatError if the text is no tokenizer.json that can be used.
 * @example createTokenizer(readFileSync('tokenizer.json', 'utf8')).encode('Hello')
 */
export function createTokenizer(
  json: string,
  special: (idOf: (token: string) => number | undefined) => SpecialIds = () => ({ eosIds: [] }),
): Tokenizer {
  const parsed = parseTokenizerJson(json)
  const native = binding()
  const handle = loadNative(json)
  const use = <T>(work: () => T): T => {
    if (disposed)
      throw new OptionError('the tokenizer was disposed; make a new one', { code: 'PARE_E_DISPOSED' })
    try {
      return work()
    } catch (cause) {
      throw ruleFault(cause)
    }
  }
  let disposed = false
  const specialTokens = new Set(parsed.added_tokens.filter((t) => t.special).map((t) => t.id))
  const token = (id: number) => use(() => native.tokenizerIdToToken(handle, checkedId(id)) ?? undefined)
  const idOf = (text: string) => use(() => native.tokenizerTokenToId(handle, text) ?? undefined)
  const decode = (ids: Iterable<number>, { skipSpecialTokens = false }: DecodeOptions = {}) =>
    use(() => native.tokenizerDecode(handle, idArray(ids), skipSpecialTokens))
  const bytes = byteDecoder(parsed)
  const utf8 = new TextEncoder()
  const tokenBytes = (id: number) => {
    const text = token(id)
    if (text === undefined) return new Uint8Array(0)
    return bytes ? bytes.bytesOf(text) : utf8.encode(decode([id]))
  }
  const rules = partRules(parsed)
  const encodePart: PartEncoder | undefined =
    rules &&
    ((text, at) =>
      use(() =>
        encoded(text, () =>
          native.tokenizerEncodeParts(handle, text, at.continued, at.more, { ...rules, length: PART_BYTES }),
        ),
      ))
  const encode = (text: string, { addSpecialTokens = true }: EncodeOptions = {}) =>
    encodePart && !addSpecialTokens && text.length > PART_BYTES
      ? encodePart(text, { continued: false, more: false }).ids
      : use(() => encoded(text, () => native.tokenizerEncode(handle, text, addSpecialTokens)))
  const tokenizer: Tokenizer = {
    ...special(idOf),
    vocabularySize: native.tokenizerVocabularySize(handle),
    encode,
    encodeStream: (options) =>
      encodeStream(encodePart, (text) => encode(text, { addSpecialTokens: false }), options),
    decode,
    stream({ skipSpecialTokens = false } = {}) {
      const shown = (id: number) => (skipSpecialTokens && specialTokens.has(id) ? undefined : token(id))
      return bytes ? byteStream(shown, bytes) : windowStream(shown, decode)
    },
    idOf,
    token,
    tokenText: (id) => new TextDecoder('utf-8', { ignoreBOM: true }).decode(tokenBytes(id)),
    tokenBytes,
    isSpecial: (id) => specialTokens.has(id),
    json: () => json,
    dispose() {
      if (disposed) return
      disposed = true
      releases.unregister(tokenizer)
      native.tokenizerRelease(handle)
    },
  }
  releases.register(tokenizer, handle, tokenizer)
  return tokenizer
}

/**
 * A step of the tokenizer that gave up within, such as a cut of more characters than a token has. What the file asks for
 * decides that, so that it counts as damage; anything else passes unchanged.
 */
function ruleFault(cause: unknown): unknown {
  if (!isWithin(cause)) return cause
  const { message } = cause as Error
  const reason = /\((.*)\)/s.exec(message)?.[1] ?? message
  return new FormatError(
    `tokenizer.json: its rules cannot be followed (${printable(reason, 300)}); get the file of the model again`,
    { code: 'PARE_E_TOKENIZER_RULES', cause },
  )
}

const isWithin = (cause: unknown): boolean => (cause as { code?: unknown }).code === 'PARE_E_INTERNAL'

function loadNative(json: string): number {
  try {
    return binding().tokenizerLoad(json)
  } catch (cause) {
    const reason = printable((cause as Error).message, 300)
    throw new FormatError(`tokenizer.json: cannot be used (${reason}); get the file of the model again`, {
      code: 'PARE_E_TOKENIZER_JSON',
      cause,
    })
  }
}

/** Bytes of a text that are encoded at once; the steps of a tokenizer need about a hundred times as many. */
const PART_BYTES = 1 << 16

function encoded<T>(text: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    // What the file asks for, or the machine lacks, is not the fault of the text.
    if (isWithin(cause)) throw cause
    const fault = nativeFault(cause)
    if (fault instanceof OptionError || fault instanceof ResourceError) throw fault
    const reason = printable((cause as Error).message, 300)
    throw new OptionError(
      `text of ${text.length} characters: cannot be tokenised (${reason}); split it first`,
      {
        code: 'PARE_E_TOKENIZER_TEXT',
        facts: { characters: text.length },
        cause,
      },
    )
  }
}

function checkedId(id: number): number {
  if (Number.isInteger(id) && id >= 0 && id < 2 ** 32) return id
  throw new OptionError(
    `token ids are integers from 0 to 4294967295, got ${id}; check where the id comes from`,
    {
      code: 'PARE_E_TOKEN_ID',
    },
  )
}

const idArray = (ids: Iterable<number>) =>
  ids instanceof Uint32Array ? ids : Uint32Array.from(ids, checkedId)

/**
 * Loads the tokenizer of a Hugging Face folder: tokenizer.json, and for the special ids
 * tokenizer_config.json, special_tokens_map.json, generation_config.json and config.json where they exist.
 *
 * @throws SourceError if there is no tokenizer.json, FormatError if a file is damaged.
 * @example loadTokenizer('models/smollm2').encode('Hello world!')
 */
export function loadTokenizer(folder: string): Tokenizer {
  const path = join(folder, 'tokenizer.json')
  const json = readText(path, LARGEST_TOKENIZER_BYTES)
  if (json === undefined)
    throw new SourceError(`${printable(path)}: is missing; the folder needs a tokenizer.json`, {
      code: 'PARE_E_TOKENIZER_MISSING',
      facts: { path },
    })
  const files = {
    tokenizerConfig: readJsonFile(join(folder, 'tokenizer_config.json')),
    specialTokensMap: readJsonFile(join(folder, 'special_tokens_map.json')),
    generationConfig: readJsonFile(join(folder, 'generation_config.json')),
    config: readJsonFile(join(folder, 'config.json')),
  }
  return createTokenizer(json, (idOf) => specialIds(files, idOf))
}

const LARGEST_CONFIG_BYTES = 1 << 24

/** An object in a JSON file of a model folder, or undefined if there is no such file. */
export function readJsonFile(path: string): JsonRecord | undefined {
  const text = readText(path, LARGEST_CONFIG_BYTES)
  if (text === undefined) return undefined
  const value = strictJson(path, text)
  if (isRecord(value)) return value
  throw new FormatError(`${printable(path)}: an object is needed, this is something else; it is damaged`, {
    code: 'PARE_E_JSON',
    facts: { path },
  })
}

/** A text file of at most `limit` bytes, or undefined if there is none. */
export function readText(path: string, limit: number): string | undefined {
  try {
    const status = statSync(path)
    if (!status.isFile() || status.size > limit)
      throw new FormatError(
        `${printable(path)}: a file of at most ${limit} bytes is needed, this has ${status.size}; it is damaged`,
        { code: 'PARE_E_TOO_LARGE', facts: { path, bytes: status.size, limit } },
      )
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof FormatError) throw error
    const reason = (error as NodeJS.ErrnoException).code
    if (reason === 'ENOENT' || reason === 'ENOTDIR') return undefined
    throw new SourceError(`${printable(path)}: cannot be read (${reason}); check its permissions`, {
      facts: { path },
      cause: error,
    })
  }
}
