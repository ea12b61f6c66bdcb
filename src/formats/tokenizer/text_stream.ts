/** Text of ids that arrive one by one, never cut inside a character. */
import type { ByteDecoder } from './token_bytes.ts'

export interface TextStream {
  /** What `id` adds that is certain by now; empty while a character is not complete. */
  push(id: number): string
  /** The rest; an incomplete character becomes U+FFFD. The stream starts again afterwards. */
  end(): string
}

/** `token` gives the vocabulary's form of an id, or undefined for one to leave out. */
export function byteStream(token: (id: number) => string | undefined, decoder: ByteDecoder): TextStream {
  let first = true
  let utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  return {
    push(id) {
      const text = token(id)
      if (text === undefined) return ''
      let bytes = decoder.bytesOf(text)
      if (first && decoder.stripsFirstBlank && bytes[0] === 0x20) bytes = bytes.subarray(1)
      first = false
      return utf8.decode(bytes, { stream: true })
    },
    end() {
      const rest = utf8.decode()
      first = true
      utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
      return rest
    },
  }
}

/**
 * For decoders that look at neighbours: decodes the last two tokens and emits what the newer one added.
 * Differs from decoding all ids at once where a token changes text before its neighbour.
 */
export function windowStream(
  token: (id: number) => string | undefined,
  decode: (ids: Uint32Array) => string,
): TextStream {
  let last: number | undefined
  return {
    push(id) {
      if (token(id) === undefined) return ''
      const before = last === undefined ? '' : decode(Uint32Array.of(last))
      const both = decode(last === undefined ? Uint32Array.of(id) : Uint32Array.of(last, id))
      last = id
      return both.startsWith(before) ? both.slice(before.length) : both
    },
    end() {
      last = undefined
      return ''
    },
  }
}
