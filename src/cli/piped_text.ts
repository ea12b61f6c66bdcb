/** The text that comes through a pipe. */
import type { Readable } from 'node:stream'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { bytesText } from './terminal.ts'

/** Bytes of a pipe that are read. */
const MOST = 2 ** 26

/**
 * All of a stream as one text, without the line end behind it. Bytes that are no UTF-8 become U+FFFD.
 *
 * @throws OptionError where it is empty or too long, AbortError where `signal` stops the wait for it.
 */
export async function pipedText(stream: Readable, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  let stop = () => {}
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(new AbortError())
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop, { once: true })
  })
  const all = async () => {
    for await (const chunk of stream) {
      chunks.push(chunk as Buffer)
      bytes += (chunk as Buffer).length
      if (bytes > MOST)
        throw new OptionError(`stdin: at most ${bytesText(MOST)} are read, got more; give a shorter text`)
    }
  }
  try {
    await Promise.race([all(), stopped])
  } finally {
    signal.removeEventListener('abort', stop)
    stopped.catch(() => {})
    // Else it would keep the process alive.
    stream.destroy()
  }
  const text = Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
  if (text !== '') return text
  throw new OptionError('stdin: is empty; give a text through the pipe, or start in a terminal')
}
