/**
 * What bytes one token stands for. Most decoders add bytes token by token, so that a stream can be cut
 * wherever a character ends; only those that look at neighbours cannot say.
 */
import { membersOf, type TokenizerJson } from './tokenizer_json.ts'

/** The printable character of each byte in byte-level vocabularies; GPT-2's table. */
export const byteLevelCharacters: readonly string[] = byteLevelTable()

function byteLevelTable(): string[] {
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    return String.fromCodePoint(printable ? byte : next++)
  })
}

const byteOf = new Map(byteLevelCharacters.map((character, byte) => [character, byte]))
const utf8 = new TextEncoder()

/** Bytes of a byte-level token; one that holds a character outside the table is plain text. */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes = Array.from(token, (character) => byteOf.get(character))
  return bytes.includes(undefined) ? utf8.encode(token) : Uint8Array.from(bytes as number[])
}

/** Bytes of a SentencePiece token: `<0xNN>` is a byte, U+2581 a blank. */
export function sentencePieceBytes(token: string): Uint8Array {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : utf8.encode(token.replaceAll('\u2581', ' '))
}

export interface ByteDecoder {
  bytesOf(token: string): Uint8Array
  /** The first token of a text loses one leading blank. */
  stripsFirstBlank: boolean
}

/** The rule of the tokenizer's decoder, or undefined if it looks at neighbours (WordPiece, CTC, none). */
export function byteDecoder({ decoder }: TokenizerJson): ByteDecoder | undefined {
  const steps = membersOf(decoder)
  const types = steps.map(({ type }) => type).join()
  if (types === 'ByteLevel') return { bytesOf: byteLevelBytes, stripsFirstBlank: false }
  if (types === 'Metaspace' && steps[0]!.replacement === '\u2581')
    return {
      bytesOf: (token) => utf8.encode(token.replaceAll('\u2581', ' ')),
      stripsFirstBlank: steps[0]!.prepend_scheme !== 'never' && steps[0]!.add_prefix_space !== false,
    }
  const replaced = steps[0]?.pattern as { String?: unknown } | undefined
  if (
    /^Replace,ByteFallback,Fuse(,Strip)?$/.test(types) &&
    replaced?.String === '\u2581' &&
    steps[0]!.content === ' '
  ) {
    const strip = steps[3]
    if (!strip) return { bytesOf: sentencePieceBytes, stripsFirstBlank: false }
    if (strip.content === ' ' && strip.start === 1 && strip.stop === 0)
      return { bytesOf: sentencePieceBytes, stripsFirstBlank: true }
  }
  return undefined
}
