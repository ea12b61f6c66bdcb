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

const ctrlC = '\u0003'
const ctrlZ = '\u001a'

export interface PasteHooks {
  /** Ctrl-C while keys are held back. */
  interrupted(): void
  /** Ctrl-Z while keys are held back. @default it is a key like others */
  suspended?(): void
  /** Takes single keys from the terminal, or whole lines again; readline asks for it. @default nothing */
  rawMode?(on: boolean): void
}

export class PasteFilter extends Transform {
  private readonly decoder = new TextDecoder()
  /** Of a paste that has not ended. */
  private paste: string | undefined
  /** The beginning of a mark, maybe. */
  private rest = ''
  private readonly pastes = new Map<string, string>()
  /** Of the last paste. */
  private count = 0
  private held: string[] | undefined
  private readonly hooks: PasteHooks

  constructor(hooks: PasteHooks) {
    super()
    this.hooks = hooks
  }

  /** What readline calls on its input when it begins, stops for Ctrl-Z, goes on, and ends. */
  setRawMode(on: boolean): void {
    this.hooks.rawMode?.(on)
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    let text = this.rest + this.decoder.decode(chunk, { stream: true })
    this.rest = ''
    // Ctrl-C that comes alone is typed: a paste whose end was lost must not swallow the way out.
    if (text === ctrlC) this.paste = undefined
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

  /** A line as it was meant: pastes in place of what stands for them. Those of lines behind it stay. */
  whole(line: string): string {
    return line.replace(/\[paste \d+: [^\]]*\]/g, (name) => {
      const text = this.pastes.get(name)
      this.pastes.delete(name)
      return text ?? name
    })
  }

  /** Forgets the pastes of a line that was cleared. */
  forget(): void {
    this.pastes.clear()
  }

  /** Keeps keys back, but for Ctrl-C and Ctrl-Z, until `go`. */
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
    const { interrupted, suspended } = this.hooks
    const behind = text.lastIndexOf(ctrlC)
    if (behind >= 0) {
      // What was typed before it goes with it, as a terminal does that sends the signal itself.
      this.held.length = 0
      interrupted()
    }
    const keys = text.slice(behind + 1)
    const kept = suspended ? keys.replaceAll(ctrlZ, '') : keys
    if (kept !== '') this.held.push(kept)
    if (kept !== keys) suspended!()
  }

  private endPaste(): void {
    const text = this.paste!.replace(/\r\n?/g, '\n')
    this.paste = undefined
    if (text.length <= SHORT && !/[\p{Cc}]/u.test(text)) {
      this.key(text)
      return
    }
    const lines = text.split('\n').length
    this.count = this.pastes.size === 0 ? 1 : this.count + 1
    const name = `[paste ${this.count}: ${lines === 1 ? `${text.length} characters` : `${lines} lines`}]`
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
