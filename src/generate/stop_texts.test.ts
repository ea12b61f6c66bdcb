import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OptionError } from '../tensor/errors.ts'
import { stopSearch } from './stop_texts.ts'

/** What is shown of a text that comes in these pieces, and the stop text that ended it. */
function shown(pieces: readonly string[], stops: readonly string[]): { text: string; stop?: string } {
  const search = stopSearch(stops)
  let text = ''
  for (const piece of pieces) {
    const found = search.push(piece)
    text += found.text
    if (found.stop !== undefined) return { text, stop: found.stop }
  }
  return { text: text + search.end() }
}
/** The definition on the whole text. */
function whole(text: string, stops: readonly string[]): { text: string; stop?: string } {
  let best: { start: number; end: number } | undefined
  for (const stop of stops) {
    const start = text.indexOf(stop)
    const end = start + stop.length
    if (start >= 0 && (!best || end < best.end || (end === best.end && start < best.start)))
      best = { start, end }
  }
  return best ? { text: text.slice(0, best.start), stop: text.slice(best.start, best.end) } : { text }
}

// Few letters, so that beginnings of stop texts are everywhere; two characters that share a surrogate.
const letters = fc.string({ unit: fc.constantFrom('a', 'b', '😀', '😁', 'é'), maxLength: 40 })
const stopTexts = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '😀'), minLength: 1, maxLength: 5 }), {
  maxLength: 4,
})

test('any cutting of a text into pieces gives what a search of the whole text gives', () => {
  fc.assert(
    fc.property(letters, stopTexts, fc.array(fc.nat(6)), (text, stops, lengths) => {
      const pieces: string[] = []
      let at = 0
      for (const length of lengths) {
        pieces.push(text.slice(at, at + length))
        at += length
      }
      pieces.push(text.slice(at))
      expect(shown(pieces, stops)).toEqual(whole(text, stops))
    }),
    { numRuns: 2000 },
  )
})
test('what is shown early is never taken back, holds whole characters and no beginning of a stop text', () => {
  fc.assert(
    fc.property(letters, stopTexts, (text, stops) => {
      const search = stopSearch(stops)
      const result = whole(text, stops).text
      let early = ''
      for (let at = 0; at < text.length; at++) {
        const found = search.push(text[at]!)
        early += found.text
        expect(early).not.toMatch(/\p{Surrogate}/u)
        expect(result.startsWith(early)).toBe(true)
        if (found.stop !== undefined) return
        // All that does not begin a stop text, and is no half of a character, is there already.
        const read = text.slice(0, at + 1)
        const begun = stops.flatMap((stop) =>
          Array.from(stop, (_, i) => [...stop].slice(0, i).join('')).filter((part) => read.endsWith(part)),
        )
        const longest = Math.max(0, ...begun.map(({ length }) => length))
        if (!/\p{Surrogate}$/u.test(read)) expect(early).toBe(read.slice(0, read.length - longest))
      }
    }),
    { numRuns: 1000 },
  )
})
test('the one that is complete first wins, of those that end together the longest', () => {
  expect(shown(['xabcd'], ['bcd', 'c'])).toEqual({ text: 'xab', stop: 'c' })
  expect(shown(['xabcd'], ['cd', 'bcd', 'd!'])).toEqual({ text: 'xa', stop: 'bcd' })
  expect(shown(['x', 'a', 'bc'], ['abd', 'bc'])).toEqual({ text: 'xa', stop: 'bc' })
})
test('what only began is shown once it is something else, or at the end', () => {
  const search = stopSearch(['\nUser:'])
  expect(search.push('Yes.\nUs')).toEqual({ text: 'Yes.' })
  expect(search.push('e ')).toEqual({ text: '\nUse ' })
  expect(search.push('\nUser')).toEqual({ text: '' })
  expect(search.end()).toBe('\nUser')
})
test('a stop text that begins again inside itself is found', () => {
  expect(shown([...'aabaabaaab'], ['aabaaab'])).toEqual({ text: 'aab', stop: 'aabaaab' })
})
test('a long stop text costs each character once', () => {
  const stop = `${'a'.repeat(100_000)}b`
  const search = stopSearch([stop])
  for (let i = 0; i < 2000; i++) expect(search.push('a'.repeat(100)).text.length).toBeLessThanOrEqual(100)
  expect(search.push('b')).toEqual({ text: '', stop })
})
test.each(['', '\ude00', 'a\ud83d'])('%j is refused: no character, or half of one', (stop) => {
  expect(() => stopSearch(['fine', stop])).toThrow(OptionError)
  expect(() => stopSearch([stop])).toThrow(expect.objectContaining({ code: 'PARE_E_STOP' }))
})
