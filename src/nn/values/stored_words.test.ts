import { describe, expect, test } from 'vitest'
import { ShapeError } from '../../tensor/errors.ts'
import {
  fromBytes,
  indexSelect,
  linear,
  randomStream,
  scope,
  type Tensor,
  tensor,
} from '../../tensor/index.ts'
import { packWeight } from './packed_weight.ts'
import {
  NONE,
  packedWords,
  permutedWords,
  productWords,
  scaledWords,
  storedProduct,
  sumWords,
  type Words,
} from './stored_words.ts'

const [ROWS, COLUMNS] = [3, 64]
const normal = (name: string, shape: number[]) => randomStream(3, name).normal(shape)
const x = normal('x', [2, COLUMNS])

/** A matrix f32 as it lies. */
const plain = (weight: Tensor): Words => {
  const [rows, columns] = weight.shape as [number, number]
  const bytes = fromBytes(weight.bytes(), [rows, 4 * columns], 'u8')
  return packedWords(packWeight({ kind: 'blocks', type: 'F32', shape: [rows, columns], bytes }))
}
const weight = normal('weight', [ROWS, COLUMNS])
const words = plain(weight)

function expectNear(found: Tensor, wanted: Tensor): void {
  const off = scope(() => found.sub(wanted).abs().max().item())
  expect(off).toBeLessThan(1e-4)
}

test('sums, products, factors and orders are those of the matrices', () => {
  const other = normal('other', [ROWS, COLUMNS])
  expectNear(storedProduct(sumWords([words, plain(other)]), ROWS, x), linear(x, weight.add(other)))
  const left = normal('left', [5, ROWS])
  expectNear(storedProduct(productWords(plain(left), words), 5, x), linear(x, left.matmul(weight)))
  const [rows, columns] = [normal('rows', [ROWS]), normal('columns', [COLUMNS])]
  expectNear(
    storedProduct(scaledWords(rows, columns, words), ROWS, x),
    linear(x, weight.mul(columns).mul(rows.reshape([ROWS, 1]))),
  )
  const order = tensor(
    Uint32Array.from({ length: COLUMNS }, (_, place) => COLUMNS - 1 - place),
    [COLUMNS],
    'u32',
  )
  expectNear(storedProduct(permutedWords(order, words), ROWS, indexSelect(x, 1, order)), linear(x, weight))
})

test('a place past the last column counts for nothing', () => {
  const order = tensor([...Array(COLUMNS - 1).keys(), NONE], [COLUMNS], 'u32')
  const cut = x.slice(1, 0, COLUMNS - 1)
  const wanted = linear(cut, weight.slice(1, 0, COLUMNS - 1))
  expectNear(storedProduct(permutedWords(order, words), ROWS, cut.contiguous()), wanted)
})

describe('words that name no weight are refused', () => {
  const deep = Array.from({ length: 30 }).reduce<Words>((inner) => sumWords([inner]), words)
  test.each<[string, Words]>([
    ['nothing', []],
    ['an end too early', words.slice(0, -1)],
    ['words behind the end', [...words, 0]],
    ['an unknown kind', [99, ...words]],
    ['an unknown form', [0, 12_345, ...words.slice(2)]],
    ['a sum of nothing', [7, 0]],
    ['more terms than there are', [7, NONE, ...words]],
    ['sums inside each other without end', deep],
    ['a handle of nothing', [10, NONE - 1, ...words]],
    ['factors of another length', scaledWords(normal('rows', [ROWS + 1]), undefined, words)],
    ['inputs of another width', productWords(words, words)],
  ])('%s', (_, words) => {
    expect(() => storedProduct(words, ROWS, x)).toThrow(ShapeError)
  })
})
