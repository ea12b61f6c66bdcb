/**
 * The pre-tokenisers that `tokenizer.ggml.pre` names, as parts of a tokenizer.json, and the way back.
 * Patterns: ggml-org/llama.cpp, src/llama-vocab.cpp; the last step maps bytes to their printable characters.
 */
import { FormatError, printable } from '../../tensor/errors.ts'
import { membersOf, type TokenizerJson, type TypedPart } from './tokenizer_json.ts'

export interface PreTokenizer {
  part: TypedPart
  /** A pre-token that is in the vocabulary as a whole is not built from merges. */
  ignoreMerges: boolean
  /** Whether a beginning of text is added where the file does not say. */
  addsBos: boolean
}

const byteLevel = (use_regex: boolean): TypedPart => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex,
})
const split = (pattern: string): TypedPart => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior: 'Isolated',
  invert: false,
})
const sequence = (...pretokenizers: TypedPart[]): TypedPart => ({ type: 'Sequence', pretokenizers })

/** Llama 3's pattern; Qwen 2 has the same with digits one by one. */
const modernPattern = (digits: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`

/** Without the last branch of GPT-2's pattern: what it does not match stays together. */
const defaultPattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"

const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map([
  ['gpt-2', { part: byteLevel(true), ignoreMerges: false, addsBos: false }],
  [
    'smollm',
    {
      part: sequence({ type: 'Digits', individual_digits: true }, byteLevel(true)),
      ignoreMerges: false,
      addsBos: false,
    },
  ],
  [
    'llama-bpe',
    {
      part: sequence(split(modernPattern('\\p{N}{1,3}')), byteLevel(false)),
      ignoreMerges: true,
      addsBos: true,
    },
  ],
  [
    'qwen2',
    { part: sequence(split(modernPattern('\\p{N}')), byteLevel(false)), ignoreMerges: false, addsBos: false },
  ],
  [
    'default',
    {
      part: sequence(
        split('[\\p{P}\\$\\+<=>\\^~\\|]+'),
        split(defaultPattern),
        split('\\p{N}+'),
        split('[0-9][0-9][0-9]'),
        byteLevel(false),
      ),
      ignoreMerges: false,
      addsBos: false,
    },
  ],
])

const known = [...preTokenizers.keys()].join(', ')

/** @throws FormatError that names the type and those that are known. */
export function preTokenizerOf(pre: string): PreTokenizer {
  const found = preTokenizers.get(pre)
  if (found) return found
  throw new FormatError(
    `tokenizer.ggml.pre: ${printable(pre)} is not supported (${known} are); use the model's tokenizer.json instead`,
    { code: 'PARE_E_PRE_TOKENIZER', facts: { pre } },
  )
}

/**
 * The name of a byte-level tokenizer's pre-tokeniser.
 *
 * @throws FormatError if GGUF has no name for it that Pare knows.
 */
export function detectPre({ pre_tokenizer }: TokenizerJson): string {
  const wanted = signature(pre_tokenizer)
  for (const [name, { part }] of preTokenizers) if (signature(part) === wanted) return name
  throw new FormatError(
    `tokenizer.json: GGUF has no known name for the pre-tokeniser ${printable(wanted, 300)} (${known} are known); export to a folder instead`,
    { code: 'PARE_E_PRE_TOKENIZER', facts: { found: printable(wanted, 300) } },
  )
}

/** Only what changes the pieces: the order of fields, offsets and absent defaults do not count. */
function signature(part: TypedPart | null): string {
  const steps = membersOf(part).map((step) => {
    if (step.type === 'ByteLevel')
      return ['ByteLevel', step.add_prefix_space === true, step.use_regex !== false]
    if (step.type === 'Digits') return ['Digits', step.individual_digits === true]
    if (step.type === 'Split') return ['Split', step.pattern, step.behavior, step.invert === true]
    return [step]
  })
  return JSON.stringify(steps)
}
