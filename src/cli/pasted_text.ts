/**
 * Keys of a terminal, with pastes taken out: what a terminal marks as pasted (bracketed paste) may have line ends, which no
 * key of a paste shall send. Long pastes stand in the line as `[paste 1: 310 lines]` until it is sent.
 */
import { Transform, type TransformCallback } from 'node:stream'

const begins = '\u001b[200~'
const ends = '\u001b[201~'
/** Asks a terminal to mark pastes, or no longer. */
export const markPastes = (on: boolean): string => `\u001b[?2004${on ? 'h' : 'l'}`

/** Characters of a paste that stand in the line as they are. */
const SHORT = 200
/** Bytes of one paste. */
const MOST = 2 ** 24

export class PasteFilter extends Transform {
  private readonly decoder = new TextDecoder()
  /** Of a paste that has not ended. */
  private paste: string | undefined
  /** The beginning of a mark, maybe. */
  private rest = ''
  private readonly pastes = new Map<string, string>()
  private held: string[] | undefined
  private readonly interrupted: () => void

  /** @param interrupted is called for Ctrl-C while keys are held back */
  constructor(interrupted: () => void) {
    super()
    this.interrupted = interrupted
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    let text = this.rest + this.decoder.decode(chunk, { stream: true })
    this.rest = ''
    while (text !== '') {
      const mark = this.paste === undefined ? begins : ends
      const at = text.indexOf(mark)
      if (at < 0) {
        const kept = partOf(mark, text)
        this.rest = text.slice(text.length - kept)
        this.key(text.slice(0, text.length - kept))
        break
      }
      this.key(text.slice(0, at))
      if (this.paste === undefined) this.paste = ''
      else this.endPaste()
      text = text.slice(at + mark.length)
    }
    // A lone escape is a key.
    if (this.rest === '\u001b' && this.paste === undefined) {
      this.key(this.rest)
      this.rest = ''
    }
    done()
  }

  /** A line as it was meant: pastes in place of what stands for them. */
  whole(line: string): string {
    const text = line.replace(/\[paste \d+: [^\]]*\]/g, (name) => this.pastes.get(name) ?? name)
    this.pastes.clear()
    return text
  }

  /** Keeps keys back, but for Ctrl-C, until `go`. */
  hold(): void {
    this.held ??= []
  }

  go(): void {
    const keys = this.held ?? []
    this.held = undefined
    for (const text of keys) this.key(text)
  }

  private key(text: string): void {
    if (text === '') return
    if (this.paste !== undefined) {
      if (this.paste.length < MOST) this.paste += text
      return
    }
    if (!this.held) {
      this.push(text)
      return
    }
    const keys = text.replaceAll('\u0003', '')
    if (keys.length < text.length) this.interrupted()
    if (keys !== '') this.held.push(keys)
  }

  private endPaste(): void {
    const text = this.paste!.replace(/\r\n?/g, '\n')
    this.paste = undefined
    if (text.length <= SHORT && !/[\p{Cc}]/u.test(text)) {
      this.key(text)
      return
    }
    const lines = text.split('\n').length
    const name = `[paste ${this.pastes.size + 1}: ${lines === 1 ? `${text.length} characters` : `${lines} lines`}]`
    this.pastes.set(name, text)
    this.key(name)
  }
}

/** Characters at the end of `text` that may begin `mark`. */
function partOf(mark: string, text: string): number {
  for (let length = Math.min(mark.length - 1, text.length); length > 0; length--)
    if (mark.startsWith(text.slice(text.length - length))) return length
  return 0
}
