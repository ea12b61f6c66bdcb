import { expect, test } from 'vitest'
import { onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { tensor, zeros } from '../tensor/index.ts'
import { bySamples, meanOfRows } from './sample_means.ts'

test('rows stand by samples, whatever axes they have, and of no samples there are none', () => {
  onNative(() => {
    expect(bySamples(zeros([2, 3, 4])).shape).toEqual([2, 12])
    expect(bySamples(zeros([2])).shape).toEqual([2, 1])
    expect(bySamples(zeros([0, 3])).shape).toEqual([0, 0])
  })
})
test('a mean is over the rows that count, and 0 where none does', () => {
  onNative(() => {
    const rows = tensor([1, 2, 3, 6, 4, 0, 0, 0, 0, 0, 0, 0], [3, 2, 2])
    const counted = tensor([1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0], [3, 2, 2], 'bool')
    expect(valuesOf(meanOfRows(rows))).toEqual([3, 1, 0])
    expect(valuesOf(meanOfRows(rows, counted))).toEqual([3, 2, 0])
  })
})
