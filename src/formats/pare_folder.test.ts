import { describe, expect, test } from 'vitest'
import { FormatError } from '../tensor/errors.ts'
import { readPareJson } from './pare_folder.ts'

describe('pare.json', () => {
  const grid = { kind: 'grid', shape: [4, 8], bits: 3, groupSize: 'row', symmetric: false, scaleType: 'f16' }
  const read = (weights: unknown, rest: object = {}) =>
    readPareJson({ format: 'pare', version: 1, weights, ...rest })

  test('descriptions are read by name', () => {
    const blocks = { kind: 'blocks', shape: [4, 256], type: 'Q3_K' }
    expect(Object.fromEntries(read({ a: grid, b: blocks }))).toEqual({ a: grid, b: blocks })
  })
  test.each([
    ['another format', { format: 'else' }],
    ['a newer version', { version: 2 }],
    ['no weights', { weights: null }],
  ])('%s is refused', (_, rest) => {
    expect(() => read({}, rest)).toThrow(FormatError)
  })
  test.each([undefined, null, 7, 'text', []])('%j in place of the file is refused', (value) => {
    expect(() => readPareJson(value)).toThrow(FormatError)
  })
  test('a weight that is not wholly described is refused by name', () => {
    const wrong = [
      null,
      'grid',
      {},
      { ...grid, kind: 'else' },
      { ...grid, bits: 5 },
      { ...grid, bits: '4' },
      { ...grid, groupSize: 0 },
      { ...grid, groupSize: 1.5 },
      { ...grid, symmetric: 1 },
      { ...grid, scaleType: 'bf16' },
      { ...grid, shape: [4] },
      { ...grid, shape: [4, -8] },
      { ...grid, shape: [4, 2.5] },
      { ...grid, shape: [4, 2 ** 60] },
      { kind: 'blocks', shape: [4, 8] },
    ]
    for (const weight of wrong) {
      expect(() => read({ fine: grid, 'layer.7': weight }), JSON.stringify(weight)).toThrow(/layer\.7/)
    }
  })
  test('a name that is no plain text is shown as such', () => {
    expect(() => read({ '\u001b[31m': null })).toThrow(/\\u\{1b\}\[31m/)
  })
})
