/**
 * Where a text may be cut so that its parts, encoded alone, have the ids of the whole. The native core looks for cuts
 * that follow these rules, and checks that the parts on both sides agree there (native/src/token_parts).
 *
 * Every cut lies between a letter and a blank (or a mark) with another letter behind it. Rules are given where it is
 * known that no step of the tokenizer works across that place, save the pieces of the pre-tokenizer and the merges of
 * byte pair encoding, whose borders show. Steps are those of https://github.com/huggingface/tokenizers.
 */
import { isRecord } from '../json.ts'
import { type JsonRecord, membersOf, type TokenizerJson, type TypedPart } from './tokenizer_json.ts'

export interface PartRules {
  /** Only in front of a blank, as texts that begin otherwise get one. */
  blanksOnly: boolean
  /** Every text gets a blank in front: it stands for the one at the cut. */
  addsBlank: boolean
  /** Also between two tokens of one piece. */
  insidePieces: boolean
}

/** The rules of a tokenizer, or undefined where all of a text must be seen at once. */
export function partRules({ normalizer, pre_tokenizer, model }: TokenizerJson): PartRules | undefined {
  const normalizers = membersOf(normalizer)
  const steps = membersOf(pre_tokenizer)
  const addsBlank = normalizers.some(({ type }) => type === 'Prepend')
  if (addsBlank ? !prependStandsForBlank(normalizers) : !normalizers.every(staysInPlace)) return undefined
  if (!steps.every(goesLeftToRight) || Number(model.dropout ?? 0) !== 0) return undefined
  const whole = !steps.some(splits)
  if (whole && !joinsByMergesAlone(model)) return undefined
  return {
    blanksOnly: addsBlank || steps.some(prefixesBlank),
    addsBlank,
    insidePieces: whole,
  }
}

/** What `Prepend` adds is what a blank becomes. */
function prependStandsForBlank([first, second, ...rest]: TypedPart[]): boolean {
  return (
    rest.length === 0 &&
    first?.type === 'Prepend' &&
    second?.type === 'Replace' &&
    replacedText(second) === ' ' &&
    first.prepend === second.content
  )
}

const replacedText = ({ pattern }: TypedPart): unknown => (isRecord(pattern) ? pattern.String : undefined)

/** Normalizers that change characters one by one, or with the marks that follow them. */
const characterwise = [
  'NFC',
  'NFD',
  'NFKC',
  'NFKD',
  'Lowercase',
  'StripAccents',
  'Nmt',
  'BertNormalizer',
  'Precompiled',
  'ByteLevel',
]

function staysInPlace(step: TypedPart): boolean {
  if (step.type !== 'Replace') return characterwise.includes(step.type)
  const text = replacedText(step)
  return typeof text === 'string' && [...text].length === 1
}

const classwise = [
  'ByteLevel',
  'Digits',
  'Punctuation',
  'Whitespace',
  'WhitespaceSplit',
  'BertPreTokenizer',
  'CharDelimiterSplit',
  'Metaspace',
]

function goesLeftToRight(step: TypedPart): boolean {
  if (step.type !== 'Split') return classwise.includes(step.type)
  if (!isRecord(step.pattern)) return false
  return typeof step.pattern.Regex === 'string'
    ? !looksAround(step.pattern.Regex)
    : typeof step.pattern.String === 'string'
}

/** Whether a pattern can depend on the text before its match, or far behind it. `(?!\S)` is one character. */
export function looksAround(pattern: string): boolean {
  const bare = pattern
    .replaceAll('(?!\\S)', '')
    // Outside of classes; escaped characters stay only where they are anchors.
    .replaceAll(/\\[^bBAGK<>]/gs, '')
    .replaceAll(/\[\^?\]?[^\]]*\]/gs, '')
  return /\\|\^|\.|\(\?(?:[=!<>]|[a-z-]*[mx])/i.test(bare)
}

/** Whether the step cuts texts at blanks of its own accord. */
function splits(step: TypedPart): boolean {
  if (step.type === 'Metaspace') return step.split !== false
  return step.type === 'ByteLevel' ? step.use_regex !== false : true
}

function prefixesBlank(step: TypedPart): boolean {
  if (step.type === 'Metaspace') return step.prepend_scheme !== 'never'
  return step.type === 'ByteLevel' && step.add_prefix_space !== false
}

/** Whether the tokens of a text follow from merges of its characters, wherever in the text they are. */
function joinsByMergesAlone(model: JsonRecord): boolean {
  if (model.type !== 'BPE' || model.ignore_merges === true) return false
  if (model.continuing_subword_prefix || model.end_of_word_suffix) return false
  // With some bytes missing, unknown characters and bytes change places.
  return model.byte_fallback !== true || hasAllBytes(model.vocab)
}

function hasAllBytes(vocabulary: unknown): boolean {
  const byte = (value: number) => `<0x${value.toString(16).toUpperCase().padStart(2, '0')}>`
  return isRecord(vocabulary) && Array.from({ length: 256 }, (_, i) => byte(i)).every((b) => b in vocabulary)
}
