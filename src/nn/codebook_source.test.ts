import { expect, test } from 'vitest'
import { gradientCheck, inputsOf } from '../tensor/autodiff/gradient_check.suite.ts'
import { linear, randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
import { decodeAdditive } from './additive_codebooks.ts'
import { codebookSource } from './codebook_source.ts'
import { decodeCodebooks } from './values/codebook.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
/** Tiles of every kind of kernel: one row with 4, 8 and 16 columns, and any other. */
const shapes = [
  { books: 2, entries: 3, high: 1, wide: 8 },
  { books: 1, entries: 4, high: 1, wide: 4 },
  { books: 3, entries: 2, high: 1, wide: 16 },
  { books: 2, entries: 3, high: 2, wide: 3 },
]

function example({ books, entries, high, wide }: (typeof shapes)[number]) {
  const [down, across] = [3, 2]
  const codes = Uint32Array.from({ length: down * across * books }, (_, i) => (i * 5 + (i >> 2)) % entries)
  const [codebooks, scales] = inputsOf([books, entries, high, wide], [down]) as [Tensor, Tensor]
  return {
    codes: tensor(codes, [down, across, books], 'u32'),
    codebooks,
    scales,
    x: randomStream(1, 'x').normal([5, across * wide], 'f64'),
  }
}

test.each(shapes)('gradients of codebooks, scales and inputs match differences: %o', (shape) => {
  const { codes, codebooks, scales, x } = example(shape)
  gradientCheck(
    (books, rows, inputs) => codebookSource({ codes, codebooks: books, scales: rows }, 2).matmul(inputs),
    [codebooks, scales, x],
  )
})
test.each(shapes)('the weight is what its definition says, number by number: %o', (shape) => {
  const { codes, codebooks, scales } = example(shape)
  const { books, entries, high, wide } = shape
  const [c, b, s] = [numbers(codes), numbers(codebooks), numbers(scales)]
  const columns = 2 * wide
  const expected = Array.from({ length: 3 * high * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns]
    const [o, i] = [Math.floor(row / high), Math.floor(column / wide)]
    let sum = 0
    for (let m = 0; m < books; m++) {
      const entry =
        b[((m * entries + c[(o * 2 + i) * books + m]!) * high + (row % high)) * wide + (column % wide)]!
      sum = m === 0 ? entry : sum + entry
    }
    return sum * s[o]!
  })
  expect(numbers(decodeAdditive({ codes, codebooks, scales }))).toEqual(expected)
})
test('products and stored values are those of what is decoded', () => {
  scope(() => {
    const { codes, codebooks, scales, x } = example(shapes[0]!)
    const source = codebookSource({ codes, codebooks: codebooks.cast('f32'), scales: scales.cast('f32') }, 2)
    const inputs = x.cast('f32')
    expect(numbers(source.matmul(inputs))).toEqual(numbers(linear(inputs, source.dense())))
    const values = source.values()
    expect(values.shape).toEqual([3, 16])
    expect(numbers(values.codebooks)).toEqual(numbers(values.codebooks.cast('f16')))
    expect(decodeCodebooks(values).shape).toEqual([3, 16])
    // 12 codes of 2 bits, 48 numbers and 3 scales in f16.
    expect(source.size().storedBits).toBe(12 * 2 + (48 + 3) * 16)
    expect([...source.parameters().keys()]).toEqual(['codebooks', 'scales'])
  })
})
test('the gradient is the same for every number of threads', async () => {
  const { setThreads, threads } = await import('../tensor/index.ts')
  const before = threads()
  const { additiveGradient } = await import('./additive_codebooks.ts')
  const random = randomStream(3, 'gradient')
  const parts = {
    codes: tensor(
      Uint32Array.from({ length: 100 * 8 * 2 }, (_, i) => (i * 7) % 16),
      [100, 8, 2],
      'u32',
    ),
    codebooks: random.normal([2, 16, 1, 8]),
    scales: random.normal([100]),
  }
  const slope = random.normal([100, 64])
  try {
    const all = [1, 2, 5].map((count) => {
      setThreads(count)
      return Object.values(additiveGradient(parts, slope)).map(numbers)
    })
    expect(all[1]).toEqual(all[0])
    expect(all[2]).toEqual(all[0])
  } finally {
    setThreads(before)
  }
})
