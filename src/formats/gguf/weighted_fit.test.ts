import { expect, test } from 'vitest'
import { typeOfName } from '../../nn/block_types.ts'
import { randomStream } from '../../tensor/index.ts'
import { callNative } from '../../tensor/native.ts'
import { unpackBlock, valuesOf } from './blocks.ts'
import { weightedFit, weightedTypes } from './weighted_fit.suite.ts'

const [rows, columns] = [16, 512]
const x = randomStream(1, 'weights').normal([rows, columns]).toArray() as Float32Array
const importance = Float32Array.from(
  randomStream(2, 'importance').normal([columns]).toArray() as Float32Array,
  (v) => Math.exp(1.3 * v),
)

test.each(weightedTypes)('%s: the core chooses scales and codes as the slow fit does', (type) => {
  const { blockLength, blockBytes } = typeOfName(type)!
  const bytes = callNative((native) => native.blocksQuantize(type, x, columns, importance))
  const blocks = (rows * columns) / blockLength
  let same = 0
  const errors = { native: 0, slow: 0 }
  for (let block = 0; block < blocks; block++) {
    const found = unpackBlock(type, bytes.subarray(block * blockBytes, (block + 1) * blockBytes))
    const row = Math.floor((block * blockLength) / columns)
    const values = Array.from(x.subarray(row * columns, (row + 1) * columns))
    const within = block - (row * columns) / blockLength
    const expected = weightedFit(type, values, [...importance], within)
    const isSame = found.d === expected.d && found.codes.every((code, i) => code === expected.codes[i])
    same += isSame ? 1 : 0
    for (const [name, parts] of [
      ['native', found],
      ['slow', expected],
    ] as const)
      valuesOf(type, parts).forEach((y, i) => {
        const column = within * blockLength + i
        errors[name] += importance[column]! * (y - values[column]!) ** 2
      })
  }
  // Where two trials are almost as good, f32 and f64 may choose differently.
  expect(same).toBeGreaterThanOrEqual(0.7 * blocks)
  expect(Math.abs(errors.native / errors.slow - 1)).toBeLessThan(0.01)
})
