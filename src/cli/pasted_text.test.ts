import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PasteFilter } from './pasted_text.ts'

const begins = '\u001b[200~'
const ends = '\u001b[201~'

/** What goes on to the line, and the filter afterwards. */
function typed(chunks: readonly (string | Buffer)[], interrupted = () => {}) {
  const filter = new PasteFilter({ interrupted })
  for (const chunk of chunks) filter.write(Buffer.from(chunk as string))
  const keys = ((filter.read() as Buffer | null) ?? '').toString()
  return { filter, keys, more: () => ((filter.read() as Buffer | null) ?? '').toString() }
}

test('keys pass as they are, escape sequences and a lone escape too', () => {
  expect(typed(['abc\u001b[A', '\u001b', 'x\r']).keys).toBe('abc\u001b[A\u001bx\r')
})
test('a short paste stands in the line, a long one and one of several lines as a name, and both are sent whole', () => {
  const long = 'word '.repeat(4000)
  const lines = 'one\r\ntwo\rthree\n'
  const { filter, keys } = typed([
    `see ${begins}this${ends}: ${begins}${long}${ends}, ${begins}${lines}${ends}`,
  ])
  expect(keys).toBe('see this: [paste 1: 20000 characters], [paste 2: 4 lines]')
  expect(filter.whole(keys)).toBe(`see this: ${long}, one\ntwo\nthree\n`)
  expect(filter.whole('[paste 1: 20000 characters]')).toBe('[paste 1: 20000 characters]')
})
test('pastes of two lines that come at once are each sent with their own line', () => {
  const { filter, keys } = typed([`a ${begins}1\n2${ends}\rb ${begins}3\n4${ends}\r`])
  expect(keys.split('\r').map((line) => filter.whole(line))).toEqual(['a 1\n2', 'b 3\n4', ''])
})
test('a paste whose end was lost does not swallow a Ctrl-C that is typed', () => {
  expect(typed([`${begins}lost`, '\u0003', 'x']).keys).toBe('\u0003x')
})
test('line ends, Ctrl-C and escape codes inside of a paste send, stop and move nothing', () => {
  const { filter, keys } = typed([`${begins}a\r\u0003\u001b[2Jb${ends}`], () => expect.unreachable())
  expect(keys).toBe('[paste 1: 2 lines]')
  expect(filter.whole(keys)).toBe('a\n\u0003\u001b[2Jb')
})
test('wherever the bytes are cut, marks and characters are found', () => {
  const text = `é1${begins}ü\nß${'z'.repeat(300)}${ends}2\u001b[C€${begins}kurz ✓${ends}`
  const whole = typed([text])
  const bytes = Buffer.from(text)
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: bytes.length - 1 }), { maxLength: 12 }), (cuts) => {
      const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length]
      // A lone escape is a key, so that no chunk ends behind one.
      const kept = places.filter((at) => bytes[at - 1] !== 0x1b)
      const parts = kept.slice(1).map((end, i) => bytes.subarray(kept[i], end))
      const { keys, filter } = typed(parts)
      expect(keys).toBe(whole.keys)
      expect(filter.whole(keys)).toBe(`é1ü\nß${'z'.repeat(300)}2\u001b[C€kurz ✓`)
    }),
  )
})
test('keys that are held back come later, but not those in front of a Ctrl-C', () => {
  let stopped = 0
  const filter = new PasteFilter({ interrupted: () => stopped++ })
  filter.hold()
  filter.write(Buffer.from('gone\u0003next\r'))
  filter.write(Buffer.from(`${begins}x${ends}`))
  expect([filter.read(), stopped]).toEqual([null, 1])
  filter.go()
  expect(String(filter.read())).toBe('next\rx')
})
test('Ctrl-Z suspends while keys are held back, and is a key else', () => {
  let suspended = 0
  const filter = new PasteFilter({ interrupted: () => expect.unreachable(), suspended: () => suspended++ })
  filter.hold()
  filter.write(Buffer.from('a\u001ab'))
  filter.go()
  filter.write(Buffer.from('\u001a'))
  expect([String(filter.read()), suspended]).toEqual(['ab\u001a', 1])
})
test('a paste without an end takes bounded memory', () => {
  const filter = new PasteFilter({ interrupted: () => {} })
  const part = Buffer.alloc(2 ** 20, 'a')
  filter.write(Buffer.from(begins))
  for (let i = 0; i < 40; i++) filter.write(part)
  filter.write(Buffer.from(ends))
  expect(filter.whole(String(filter.read())).length).toBeLessThanOrEqual(17 * 2 ** 20)
})
