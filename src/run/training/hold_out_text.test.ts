import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { languageData } from '../../data/assets/language.ts'
import { asset, assets } from '../../formats/tokenizer/assets.suite.ts'
import { OptionError } from '../../tensor/errors.ts'
import { holdOutText } from './hold_out_text.ts'

const documents = (count: number) => Array.from({ length: count }, (_, i) => `document ${i + 1}`)
/** Without half a character. */
const isWhole = (text: string) => Buffer.from(text).toString() === text
const cut = (text: string, tail: number) => {
  const { train, heldOut } = holdOutText([text], { tail })
  expect([train.length, heldOut.length]).toEqual([1, 1])
  return [train[0]!, heldOut[0]!] as const
}

describe('a text is cut', () => {
  test('at the line near the place where the only paragraph begins far before it', () => {
    const lines = Array.from({ length: 1000 }, (_, i) => `line ${i} of the corpus`).join('\n')
    const text = `My corpus of words\n\n${lines}`
    const [train, heldOut] = cut(text, 0.1)
    expect(train + heldOut).toBe(text)
    expect(train).toMatch(/corpus\n$/)
    expect(heldOut).toMatch(/^line 9\d\d of/)
    expect(Math.abs(heldOut.length / text.length - 0.1)).toBeLessThan(0.002)
  })
  test('where a paragraph begins near the place, although a line begins nearer', () => {
    const text = `${'a'.repeat(880)}\n\n${'b'.repeat(10)}\n${'c'.repeat(107)}`
    expect(cut(text, 0.1)[1]).toMatch(/^b{10}\nc{107}$/)
  })
  test('at the word where no line begins near the place, else at the place', () => {
    expect(cut(`\n\n${'ab '.repeat(1000)}`, 0.1)[1]).toBe('ab '.repeat(101))
    expect(cut('x'.repeat(1000), 0.3)[1]).toBe('x'.repeat(300))
  })
  test('never inside a character', () => {
    for (let before = 0; before < 4; before++) {
      const [train, heldOut] = cut('x'.repeat(before) + '🐋'.repeat(50), 0.1)
      expect([isWhole(train), isWhole(heldOut), heldOut.length % 2]).toEqual([true, true, 0])
    }
  })
  test('so that each part has its share, whatever the text', () => {
    const piece = fc.constantFrom('a', 'word', ' ', '\n', '\n\n', '\r\n', '🐋', 'x'.repeat(50))
    const text = fc
      .array(piece, { minLength: 40, maxLength: 400 })
      .map((pieces) => `start${pieces.join('')}end`)
    fc.assert(
      fc.property(text, fc.double({ min: 0.05, max: 0.95, noNaN: true }), (whole, tail) => {
        fc.pre(whole.length > 100)
        const [train, heldOut] = cut(whole, tail)
        expect(train + heldOut).toBe(whole)
        expect(isWhole(train) && isWhole(heldOut)).toBe(true)
        const least = Math.min(tail, 1 - tail) * whole.length
        expect(Math.abs(heldOut.length - tail * whole.length)).toBeLessThanOrEqual(least / 4 + 3)
      }),
      { seed: 1, numRuns: 500 },
    )
  })
  test.skipIf(!asset('data', 'text-moby-dick', 'data', 'data.txt'))(
    'of the novel of the zoo in the same place as the data of the experiments (needs PARE_ASSETS)',
    () => {
      const parts = languageData({ assets: assets! })
      const [train, heldOut] = [parts.train.at(-1)!.text, parts.heldOut.at(-1)!.text]
      expect(cut(train + heldOut, 0.1)).toEqual([train, heldOut])
    },
  )
})

describe('documents', () => {
  test('are held out by every n-th, and with a tail the end of the last one too', () => {
    expect(holdOutText(documents(7), { every: 3 })).toEqual({
      train: ['document 1', 'document 2', 'document 4', 'document 5', 'document 7'],
      heldOut: ['document 3', 'document 6'],
    })
    expect(holdOutText(documents(3), { every: 3, tail: 0.2 })).toEqual({
      train: ['document 1', 'document 2', 'document'],
      heldOut: [' 3'],
    })
    expect(holdOutText(documents(2), { tail: 0.2 }).train[0]).toBe('document 1')
  })
  test('of which there are ten are held out by every tenth where nothing is asked for', () => {
    for (const share of [undefined, {}]) {
      expect(holdOutText(documents(25), share).heldOut).toEqual(['document 10', 'document 20'])
      expect(holdOutText(documents(10), share).heldOut).toEqual(['document 10'])
    }
  })
  test('of which there are fewer have a tenth of the last one held out', () => {
    const texts = [...documents(8), 'x'.repeat(1000)]
    const { train, heldOut } = holdOutText(texts)
    expect([train.length, heldOut]).toEqual([9, ['x'.repeat(100)]])
  })
  test('that leave a part without text are refused', () => {
    expect(() => holdOutText(documents(2), { every: 3 })).toThrow(OptionError)
    expect(() => holdOutText(documents(2), { every: 3 })).toThrow(
      /validation: no held-out text .* 2 documents/,
    )
    expect(() => holdOutText(['a'], { tail: 0.5 })).toThrow(/validation: no training text .* 1 documents/)
  })
})
