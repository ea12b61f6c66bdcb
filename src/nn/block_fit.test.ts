import { describe, expect, test } from 'vitest'
import { randomStream, type Tensor } from '../tensor/index.ts'
import { fitBlocks } from './block_fit.ts'
import { codedTypeNames } from './block_types.ts'
import { columnSweep } from './column_sweep.ts'
import { decodeValues } from './grid.ts'

const columns = 512
const weight = randomStream(1, 'weight').normal([48, columns])
// From 0.02 to 50, as the inputs of real layers differ.
const importance = Float32Array.from(
  randomStream(2, 'importance').normal([columns]).toArray() as Float32Array,
  (v) => Math.exp(1.3 * v),
)

/** Sum of importance times squared error. */
function weightedError(decoded: Tensor): number {
  const errors = decoded.sub(weight).toArray() as Float32Array
  return errors.reduce((sum, error, i) => sum + importance[i % columns]! * error * error, 0)
}

describe.each(codedTypeNames)('%s', (type) => {
  const plain = columnSweep(weight, { grid: { kind: 'blocks', type } })
  test('the importance lowers the error that it weighs, where the type leaves a choice', () => {
    const weighted = weightedError(decodeValues(fitBlocks(weight, type, importance)))
    const unweighted = weightedError(plain.dense)
    if (type === 'Q8_0') expect(weighted).toBe(unweighted)
    else expect(weighted).toBeLessThan(0.99 * unweighted)
  })
  test('an importance of 0 everywhere says nothing: the bytes are those of rounding without one', () => {
    const { bytes } = fitBlocks(weight, type, new Float32Array(columns))
    expect(plain.values.kind === 'blocks' && plain.values.bytes.toArray()).toEqual(bytes.toArray())
  })
})
