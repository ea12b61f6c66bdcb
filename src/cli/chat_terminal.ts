/** A chat in a terminal: lines that are typed, texts as they are written, Ctrl-C. Only what the model says goes to stdout. */
import { PareError } from '../tensor/errors.ts'
import type { ChatSession, TurnCost } from './chat_session.ts'
import { colours } from './colours.ts'
import { bytesText } from './terminal.ts'
import { TypedLines } from './typed_lines.ts'

const help = `  /clear          forgets the chat
  /system TEXT    the first message from now on, in a new chat; without TEXT none
  /exit           ends, as Ctrl-D does
  Ctrl-C          stops a text that is being written; twice at the prompt: ends
  A blank in front of / makes it a text.`

/** Milliseconds in which a second Ctrl-C ends. */
const TWICE = 2000

/** How it ended: 0, or 130 after Ctrl-C. */
export async function chatInTerminal(session: ChatSession): Promise<number> {
  const { dim } = colours(process.stderr)
  const note = (text: string) => process.stderr.write(`${dim(text)}\n`)
  let writing: AbortController | undefined
  let code = 0
  let last = Number.NEGATIVE_INFINITY
  const lines = new TypedLines({
    stopped: () => writing?.abort(),
    interrupted() {
      process.stderr.write('\n')
      const now = performance.now()
      if (now - last < TWICE) {
        code = 130
        lines.end()
        return
      }
      last = now
      note('Ctrl-C once more to end')
      lines.prompt()
    },
  })
  try {
    for (;;) {
      const text = await lines.next()
      if (text === undefined) return code
      last = Number.NEGATIVE_INFINITY
      if (text.trim() === '') continue
      const command = /^\/(\w+)(?:\s+([\s\S]*))?$/.exec(text.trimEnd())
      if (command) {
        const said = obey(session, command[1]!, command[2])
        if (said === undefined) return 0
        note(said)
        continue
      }
      writing = new AbortController()
      try {
        for await (const piece of session.answer(text, writing.signal)) process.stdout.write(piece)
        process.stdout.write('\n')
        if (session.cost) note(costText(session.cost))
      } catch (error) {
        if (!(error instanceof PareError)) throw error
        note(error.message)
      } finally {
        writing = undefined
      }
    }
  } finally {
    lines.close()
  }
}

/** What a command has to say; undefined where it ends the chat. */
function obey(session: ChatSession, command: string, value: string | undefined): string | undefined {
  if (value !== undefined && ['clear', 'help', 'exit'].includes(command))
    return `/${command} takes no text, so that nothing was done; type it alone`
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
    case 'exit':
      return undefined
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
