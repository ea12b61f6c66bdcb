import { expect, test } from 'vitest'
import { OptionError, ShapeError } from '../../tensor/errors.ts'
import { linear, randomStream, scope, setThreads, type Tensor, tensor, threads } from '../../tensor/index.ts'
import { type CodebookValues, decodeCodebooks } from './codebook.ts'
import { decodeLookup, lookupWeight, lookupWords } from './codebook_lookup.ts'
import { storedProduct } from './stored_words.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
function productOf(values: CodebookValues, x: Tensor): Tensor {
  const weight = lookupWeight(values)
  return storedProduct(lookupWords(weight), weight.shape[0], x)
}

function weight({ out = 300, groups = 40, books = 2, bits = 8, wide = 8, high = 1 } = {}): CodebookValues {
  const random = randomStream(4, 'lookup')
  return {
    kind: 'codebook',
    shape: [out * high, groups * wide],
    bits,
    codes: tensor(
      Uint32Array.from({ length: out * groups * books }, () => random.integer(2 ** bits)),
      [out, groups, books],
      'u32',
    ),
    codebooks: random.normal([books, 2 ** bits, high, wide]),
    scales: random.normal([out]),
  }
}

test.each([{ books: 1 }, { books: 2 }, { books: 3, bits: 5, wide: 4 }])(
  '7. products by tables are those with the decoded weight within 1e-5: %o',
  (shape) => {
    const values = weight(shape)
    const x = randomStream(5, 'x').normal([3, values.shape[1]])
    const [found, wanted] = [productOf(values, x), linear(x, decodeCodebooks(values))]
    expect(found.sub(wanted).norm().item()).toBeLessThan(1e-5 * wanted.norm().item())
  },
)
test('the numbers of a weight come back from its tables', () => {
  for (const shape of [
    { out: 1, groups: 1 },
    { out: 130, groups: 5, books: 3, bits: 4 },
  ]) {
    const values = weight(shape)
    expect(numbers(decodeLookup(lookupWeight(values)))).toEqual(numbers(decodeCodebooks(values)))
  }
})
test('7. any number of threads gives the same bits', () => {
  const before = threads()
  const values = weight({ out: 1000 })
  const x = randomStream(5, 'x').normal([2, values.shape[1]])
  try {
    const all = [1, 2, 3].map((count) => {
      setThreads(count)
      return numbers(productOf(values, x))
    })
    expect(all[1]).toEqual(all[0])
    expect(all[2]).toEqual(all[0])
  } finally {
    setThreads(before)
  }
})
test('weights that tables cannot hold, and inputs that do not fit, are refused', () => {
  expect(() => lookupWeight(weight({ bits: 9, out: 2, groups: 1 }))).toThrow(OptionError)
  expect(() => lookupWeight(weight({ high: 2, out: 2, groups: 1 }))).toThrow(OptionError)
  scope(() => {
    const own = lookupWeight(weight({ out: 2, groups: 1 }))
    expect(() => storedProduct(lookupWords(own), 1, randomStream(0, 'x').normal([1, 7]))).toThrow(ShapeError)
    const values = weight({ out: 2, groups: 1 })
    expect(() => lookupWeight({ ...values, codebooks: values.codebooks.slice(1, 0, 2) })).toThrow(ShapeError)
  })
})
