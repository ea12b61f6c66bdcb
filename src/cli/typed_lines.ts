/**
 * Lines that are typed in a terminal, each once, in their order: also those that come while nobody asks, as several lines of
 * a paste that the terminal did not mark, and what is typed while a text is written.
 */
import { createInterface, type Interface } from 'node:readline'
import { Writable } from 'node:stream'
import { shortened, visibleLine } from '../run/visible_text.ts'
import { markPastes, PasteFilter } from './pasted_text.ts'

const PROMPT = '> '

export interface TypedLinesHooks {
  /** Ctrl-C at an empty line. */
  interrupted(): void
  /** Ctrl-C while a text is written. */
  stopped(): void
}

/** Owns stdin until `close`. The prompt and what is typed go to stderr. */
export class TypedLines {
  private readonly keys: PasteFilter | undefined
  private readonly lines: Interface
  private readonly waiting: string[] = []
  private readonly hooks: TypedLinesHooks
  private ended = false
  private wake: (() => void) | undefined
  private readonly outside = () => (this.wake ? this.interrupt() : this.stop())
  private readonly goOn = () => {
    // The shell, or who stopped the process, may have changed the terminal.
    this.raw(false)
    this.raw(true)
    if (this.wake) this.lines.prompt(true)
  }
  private readonly leave = () => this.raw(false)

  constructor(hooks: TypedLinesHooks) {
    this.hooks = hooks
    const { stdin, stderr } = process
    // Without a terminal that shows what is typed, or one without cursor, the system's own editing of lines is left on.
    if (stderr.isTTY && process.env.TERM !== 'dumb') {
      this.keys = new PasteFilter({
        interrupted: () => this.stop(),
        suspended: () => {
          this.raw(false)
          process.kill(process.pid, 'SIGTSTP')
        },
        rawMode: (on) => this.raw(on),
      })
      stdin.pipe(this.keys)
    }
    this.lines = createInterface({
      input: this.keys ?? stdin,
      output: this.keys ? new PromptOutput() : stderr,
      terminal: this.keys !== undefined,
      prompt: PROMPT,
    })
    this.lines
      .on('line', (line) => this.put(line))
      .on('close', () => this.end())
      .on('SIGINT', () => this.interrupt())
      .on('SIGCONT', () => this.lines.prompt(true))
    process.on('SIGINT', this.outside).on('SIGCONT', this.goOn).on('exit', this.leave)
  }

  /** The next line, or undefined where there are no more. */
  async next(): Promise<string | undefined> {
    let line = this.waiting.shift()
    if (line !== undefined) {
      // It was shown as it was typed, above what was written since.
      process.stderr.write(`${PROMPT}${shortened(visibleLine(line))}\n`)
    } else if (!this.ended) {
      const come = new Promise<void>((resolve) => {
        this.wake = resolve
      })
      this.lines.prompt()
      this.keys?.go()
      await come
      this.wake = undefined
      line = this.waiting.shift()
    }
    this.keys?.hold()
    return line
  }

  /** The prompt once more. */
  prompt(): void {
    this.lines.prompt()
  }

  /** Nothing more is asked for. */
  end(): void {
    this.ended = true
    this.wake?.()
  }

  close(): void {
    process.off('SIGINT', this.outside).off('SIGCONT', this.goOn).off('exit', this.leave)
    this.lines.close()
    if (this.keys) process.stdin.unpipe(this.keys)
    process.stdin.pause()
  }

  private put(line: string): void {
    this.waiting.push(this.keys?.whole(line) ?? line)
    this.wake?.()
  }

  /** Ctrl-C at the prompt. */
  private interrupt(): void {
    if (!this.keys || this.lines.line === '') {
      this.hooks.interrupted()
      return
    }
    // Takes back what was typed, as shells do.
    this.lines.write(null, { ctrl: true, name: 'e' })
    this.lines.write(null, { ctrl: true, name: 'u' })
    this.keys.forget()
  }

  /** Ctrl-C while a text is written: lines that wait go too. */
  private stop(): void {
    this.waiting.length = 0
    this.hooks.stopped()
  }

  private raw(on: boolean): void {
    if (!this.keys || process.stdin.isRaw === on) return
    process.stdin.setRawMode(on)
    process.stderr.write(markPastes(on))
  }
}

/**
 * Stderr as readline sees it. That the window has another size is not passed on: readline would draw the prompt anew, in the
 * middle of a text that is written; the next prompt is drawn for the new size.
 */
class PromptOutput extends Writable {
  get columns(): number {
    return process.stderr.columns
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    process.stderr.write(chunk)
    done()
  }
}
