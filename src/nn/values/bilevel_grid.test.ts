import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ShapeError } from '../../tensor/errors.ts'
import { randomStream, scope, type Tensor, tensor } from '../../tensor/index.ts'
import { type BilevelValues, decodeBilevel } from './bilevel_grid.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)

/** Random values: `tiles` tiles of `high` rows beside `groups` groups of `wide` columns. */
function random(
  seed: number,
  [tiles, high, groups, wide]: readonly number[],
  wholeZeros: boolean,
): BilevelValues {
  const stream = randomStream(seed, 'bilevel')
  const codes = (shape: number[]) => stream.uniform(shape).mul(255).cast('u8')
  const halves = () => stream.normal([tiles!, groups!]).cast('f16').cast('f32')
  const rows = tiles! * high!
  return {
    ...{ kind: 'bilevel', bits: 8, tile: { rows: high!, columns: wide! } },
    codes: codes([rows, groups! * wide!]),
    scaleCodes: codes([rows, groups!]),
    zeroCodes: codes([rows, groups!]),
    second: {
      ...{ scaleScale: halves(), scaleZero: halves() },
      ...(!wholeZeros && { zeroScale: halves(), zeroZero: halves() }),
    },
  }
}

/** The formula with whole tensors, each step by itself. */
function byFormula({ codes, scaleCodes, zeroCodes, tile, second }: BilevelValues): number[] {
  const [rows, columns] = codes.shape as [number, number]
  const [groups, tiles] = [columns / tile.columns, rows / tile.rows]
  const half = (x: Tensor) => x.cast('f16').cast('f32')
  const level = (own: Tensor, scale: Tensor, zero: Tensor) => {
    const byRow = (parameter: Tensor) => parameter.reshape([tiles, 1, groups])
    const wide = own.cast('f32').reshape([tiles, tile.rows, groups])
    return half(half(wide.sub(byRow(zero))).mul(byRow(scale))).reshape([rows, groups, 1])
  }
  const { scaleScale, scaleZero, zeroScale, zeroZero } = second
  const zeros = zeroScale
    ? level(zeroCodes, zeroScale, zeroZero!)
    : zeroCodes.cast('f32').reshape([rows, groups, 1])
  const wide = codes.cast('f32').reshape([rows, groups, tile.columns])
  return numbers(
    half(half(wide.sub(zeros)).mul(level(scaleCodes, scaleScale, scaleZero))).reshape([rows, columns]),
  )
}

test('values are those of the formula with every step rounded to f16, for tiles of any size', () => {
  const sizes = fc.tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 1, max: 19 })))
  fc.assert(
    fc.property(sizes, fc.nat(), fc.boolean(), (shape, seed, wholeZeros) =>
      scope(() => {
        const values = random(seed, shape, wholeZeros)
        expect(numbers(decodeBilevel(values))).toEqual(byFormula(values))
      }),
    ),
    { numRuns: 60 },
  )
})
test('parts that do not fit together are refused', () => {
  const values = random(1, [2, 4, 3, 5], false)
  const second = (shape: number[]) => ({
    ...values.second,
    scaleZero: tensor(new Float32Array(shape[0]! * shape[1]!), shape),
  })
  for (const changed of [
    { scaleCodes: values.codes },
    { zeroCodes: values.codes },
    { codes: tensor(new Uint8Array(8 * 14), [8, 14], 'u8') },
    { second: second([3, 2]) },
  ])
    expect(() => decodeBilevel({ ...values, ...changed })).toThrow(ShapeError)
})
