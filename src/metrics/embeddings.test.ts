import { expect, test } from 'vitest'
import { compareVectors } from './embeddings.ts'

test('cosines are those of the angles: 0, 90 and 60 degrees', () => {
  const found = compareVectors(
    [Float32Array.of(3, 4), Float32Array.of(1, 0), Float32Array.of(2, 0)],
    [Float32Array.of(6, 8), Float32Array.of(0, 5), Float32Array.of(1, Math.sqrt(3))],
  )
  expect(found.meanCosine).toBeCloseTo(0.5, 6)
  expect(found).toMatchObject({ leastCosine: 0, texts: 3 })
})
test('opposite vectors have the cosine -1', () => {
  expect(compareVectors([Float32Array.of(1, 2)], [Float32Array.of(-1, -2)]).leastCosine).toBeCloseTo(-1, 12)
})
test('vectors of zeros are equal to each other and unlike any other', () => {
  const [none, one] = [Float32Array.of(0, 0), Float32Array.of(0, 1)]
  expect(compareVectors([none, none], [none, one])).toEqual({ meanCosine: 0.5, leastCosine: 0, texts: 2 })
})
