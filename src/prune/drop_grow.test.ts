import { expect, test } from 'vitest'
import { numbersBelow } from '../formats/mulberry32.suite.ts'
import { dropAndGrow } from './drop_grow.ts'

test('RigL drop/grow on mask [0,1,0,1,0,1,1,0]', () => {
  const mask = Uint8Array.of(0, 1, 0, 1, 0, 1, 1, 0)
  const w = Float32Array.of(-9, 1, 4, -1, 5, 8, -2, 3)
  const moved = (fraction: number) => [...dropAndGrow(mask, w, w.map(Math.abs), fraction)]
  expect(moved(0.25)).toEqual([1, 1, 0, 1, 0, 1, 0, 0])
  expect(moved(0.5)).toEqual([1, 1, 0, 0, 1, 1, 0, 0])
  expect(moved(1)).toEqual([1, 0, 1, 0, 1, 1, 0, 0])
  expect(moved(0)).toEqual([...mask])
})
test('the count of connections stays, also where scores are large or equal', () => {
  for (let seed = 0; seed < 20; seed++) {
    const next = numbersBelow(seed)
    const mask = Uint8Array.from({ length: 57 }, (_, i) => (i === 0 || next(3) === 0 ? 1 : 0))
    const scores = () => Float32Array.from(mask, () => next(4) * 1e9)
    const count = mask.reduce((a, b) => a + b)
    const moved = dropAndGrow(mask, scores(), scores(), (seed % 5) / 4)
    expect(moved.reduce((a, b) => a + b)).toBe(count)
  }
})
