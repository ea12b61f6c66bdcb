import { expect, test } from 'vitest'
import { numbersBelow } from '../../formats/mulberry32.suite.ts'
import { loadTokenizer } from '../../formats/tokenizer/tokenizer.ts'
import { OptionError } from '../../tensor/errors.ts'
import { boundedEncoder, countFrame } from './first_tokens.ts'
import { encoderPath } from './fixtures.suite.ts'

const tokenizer = loadTokenizer(encoderPath('bert-sentence'))
const parts = [
  ' ',
  'a',
  'cat',
  'ing',
  '.',
  '東',
  'é',
  'e\u0301',
  '🙂',
  '\n',
  'zz',
  '[SEP]',
  '[',
  'x'.repeat(40),
  '\ud800',
]

test('the first ids of any text are those of the whole, with the special ones around them', () => {
  const encode = boundedEncoder(tokenizer)
  for (let seed = 0; seed < 300; seed++) {
    const below = numbersBelow(seed)
    const text = Array.from({ length: below(400) }, () => parts[below(parts.length)]!).join('')
    const whole = tokenizer.encode(text)
    for (const most of [2, 3, 12, 100, 1e6]) {
      const expected = whole.length <= most ? [...whole] : [...whole.slice(0, most - 1), whole.at(-1)!]
      expect([...encode(text, most)], `seed ${seed}, ${most}`).toEqual(expected)
    }
  }
})
test('a length that the special ids alone pass is refused', () => {
  expect(countFrame(tokenizer)).toBe(2)
  const encode = boundedEncoder(tokenizer)
  expect(encode('cat', 2)).toHaveLength(2)
  for (const most of [1, 0, -1, Number.NaN]) expect(() => encode('cat', most)).toThrow(OptionError)
})
test('of a long text only the beginning is tokenised', () => {
  const asked: number[] = []
  const encode = boundedEncoder({
    ...tokenizer,
    encode(text, options) {
      asked.push(text.length)
      return tokenizer.encode(text, options)
    },
  })
  expect(encode('cat '.repeat(1e6), 256)).toHaveLength(256)
  expect(Math.max(...asked)).toBeLessThan(10_000)
  asked.length = 0
  expect(encode(' '.repeat(100_000), 256)).toHaveLength(2)
  expect(Math.max(...asked)).toBe(100_000)
})
