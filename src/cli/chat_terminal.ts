/** A chat in a terminal: lines that are typed, texts as they are written, Ctrl-C. Only what the model says goes to stdout. */
import { createInterface, type Interface } from 'node:readline'
import picocolors from 'picocolors'
import { OptionError, PareError } from '../tensor/errors.ts'
import type { ChatSession, TurnCost } from './chat_session.ts'
import { markPastes, PasteFilter } from './pasted_text.ts'
import { bytesText } from './terminal.ts'

const help = `  /clear          forgets the chat
  /system TEXT    the first message from now on, in a new chat; without TEXT none
  /exit           ends, as Ctrl-D does
  Ctrl-C          stops a text that is being written; twice at the prompt: ends`

/** Milliseconds in which a second Ctrl-C ends. */
const TWICE = 2000

/** How it ended: 0, or 130 after Ctrl-C. */
export async function chatInTerminal(session: ChatSession): Promise<number> {
  const { dim } = picocolors.createColors(process.stderr.isTTY && !process.env.NO_COLOR)
  const note = (text: string) => process.stderr.write(`${dim(text)}\n`)
  let writing: AbortController | undefined
  const keys = new PasteFilter(() => writing?.abort())
  const { stdin } = process
  stdin.setRawMode?.(true)
  stdin.pipe(keys)
  process.stderr.write(markPastes(true))
  const lines = createInterface({ input: keys, output: process.stderr, terminal: true, prompt: '> ' })
  const outside = () => (writing ? writing.abort() : lines.emit('SIGINT'))
  process.on('SIGINT', outside)
  try {
    for (;;) {
      const line = await nextLine(lines, note)
      if (typeof line === 'number') return line
      const text = keys.whole(line)
      if (text.trim() === '') continue
      const command = /^\/(\w+)(?: ([\s\S]*))?$/.exec(text.trim())
      if (command) {
        if (command[1] === 'exit') return 0
        note(obey(session, command[1]!, command[2]))
        continue
      }
      writing = new AbortController()
      keys.hold()
      try {
        for await (const piece of session.answer(text, writing.signal)) process.stdout.write(piece)
        process.stdout.write('\n')
        note(costText(session.cost!))
      } catch (error) {
        if (!(error instanceof PareError)) throw error
        note(error.message)
      } finally {
        writing = undefined
        keys.go()
      }
    }
  } finally {
    process.off('SIGINT', outside)
    lines.close()
    process.stderr.write(markPastes(false))
    stdin.setRawMode?.(false)
    stdin.unpipe(keys)
    stdin.pause()
  }
}

/** The next line, or the exit code with which the chat ends. */
function nextLine(lines: Interface, note: (text: string) => void): Promise<string | number> {
  return new Promise((resolve) => {
    let last = Number.NEGATIVE_INFINITY
    const end = (value: string | number) => {
      lines.off('line', end).off('close', closed).off('SIGINT', interrupted)
      resolve(value)
    }
    const closed = () => end(0)
    const interrupted = () => {
      if (lines.line !== '') {
        // Takes back what was typed, as shells do.
        lines.write(null, { ctrl: true, name: 'e' })
        lines.write(null, { ctrl: true, name: 'u' })
        return
      }
      const now = performance.now()
      if (now - last < TWICE) {
        process.stderr.write('\n')
        return end(130)
      }
      last = now
      process.stderr.write('\n')
      note('Ctrl-C once more to end')
      lines.prompt()
    }
    lines.on('line', end).on('close', closed).on('SIGINT', interrupted)
    lines.prompt()
  })
}

function obey(session: ChatSession, command: string, value: string | undefined): string {
  switch (command) {
    case 'clear':
      session.clear()
      return 'a new chat'
    case 'system':
      session.begin(value)
      return value === undefined
        ? 'a new chat without a system message'
        : 'a new chat with this system message'
    case 'help':
      return help
    default:
      return `/${command} is no command; /help lists them`
  }
}

/** `31 tokens, 42.1 a second; 120 read in 0.2 s; 310.4 MB of memory` */
function costText({ tokens, seconds, promptTokens, promptSeconds, reason }: TurnCost): string {
  const rate = tokens > 1 && seconds > 0 ? `, ${(tokens / seconds).toFixed(1)} a second` : ''
  const why = { stop: '', length: ', ended by its length', interrupted: ', stopped' }[reason]
  return `${tokens} tokens${rate}${why}; ${promptTokens} read in ${promptSeconds.toFixed(1)} s; ${bytesText(process.memoryUsage.rss())} of memory`
}

/** Bytes of a pipe that are read. */
const MOST_PIPED = 2 ** 26

/** All of stdin as one text, without the line end behind it. @throws OptionError where it is empty or too long. */
export async function pipedText(): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Buffer)
    bytes += (chunk as Buffer).length
    if (bytes > MOST_PIPED)
      throw new OptionError(`stdin: at most ${bytesText(MOST_PIPED)} are read, got more; give a shorter text`)
  }
  const text = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
  if (text !== '') return text
  throw new OptionError('stdin: is empty; give a text through the pipe, or start in a terminal')
}
