import { PassThrough, Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { pipedText } from './piped_text.ts'

const never = new AbortController().signal
const pipe = (...parts: (string | Buffer)[]) => Readable.from(parts.map((part) => Buffer.from(part)))

test('all parts are one text, without the line end behind it', async () => {
  expect(await pipedText(pipe('a\n', 'b\r\n'), never)).toBe('a\nb')
  expect(await pipedText(pipe('a\n\n'), never)).toBe('a\n')
})
test('a character may be cut by parts, and bytes that are none become U+FFFD', async () => {
  const euro = Buffer.from('€')
  expect(await pipedText(pipe(euro.subarray(0, 1), euro.subarray(1)), never)).toBe('€')
  expect(await pipedText(pipe(Buffer.from([0x61, 0xff])), never)).toBe('a\ufffd')
})
test('nothing, a line end alone, and more than 64 MiB are refused', async () => {
  await expect(pipedText(pipe(), never)).rejects.toThrow(OptionError)
  await expect(pipedText(pipe('\n'), never)).rejects.toThrow(/is empty/)
  const part = Buffer.alloc(2 ** 25, 'a')
  await expect(pipedText(pipe(part, part, 'a'), never)).rejects.toThrow(/at most .* are read/)
})
test('a signal ends the wait for a pipe that says nothing, and lets go of it', async () => {
  const stop = new AbortController()
  const silent = new PassThrough()
  const text = pipedText(silent, stop.signal)
  stop.abort()
  await expect(text).rejects.toThrow(AbortError)
  expect(silent.destroyed).toBe(true)
  await expect(pipedText(new PassThrough(), AbortSignal.abort())).rejects.toThrow(AbortError)
})
