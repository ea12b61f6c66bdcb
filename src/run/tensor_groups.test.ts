import fc from 'fast-check'
import { expect, test } from 'vitest'
import { groupTensors } from './tensor_groups.ts'

const tensor = (name: string, shape = [2, 3], type = 'F16') => ({ name, type, shape, bytes: 12 })

test('layers that differ in their number are one line, in the order of the file', () => {
  const names = ['embed.weight', ...[0, 1, 2, 5].flatMap((i) => [`layers.${i}.q.weight`, `layers.${i}.norm`])]
  expect(groupTensors(names.map((name) => tensor(name)))).toEqual([
    { ...tensor('embed.weight'), count: 1 },
    { ...tensor('layers.{0-2,5}.q.weight'), bytes: 48, count: 4 },
    { ...tensor('layers.{0-2,5}.norm'), bytes: 48, count: 4 },
  ])
})
test('another type or shape is another line', () => {
  const groups = groupTensors([
    tensor('blk.0.q', [2, 3], 'Q4_K'),
    tensor('blk.1.q', [2, 3], 'Q6_K'),
    tensor('blk.2.q', [2, 3], 'Q4_K'),
    tensor('blk.3.q', [4, 3], 'Q4_K'),
  ])
  expect(groups.map(({ name, count }) => [name, count])).toEqual([
    ['blk.{0,2}.q', 2],
    ['blk.1.q', 1],
    ['blk.3.q', 1],
  ])
})
test('experts of layers have two ranges, and scattered numbers do not fill the line', () => {
  const experts = [0, 1].flatMap((i) => [0, 1, 2].map((k) => tensor(`layers.${i}.experts.${k}.w`)))
  expect(groupTensors(experts).map(({ name }) => name)).toEqual(['layers.{0-1}.experts.{0-2}.w'])
  const scattered = Array.from({ length: 50 }, (_, i) => tensor(`layers.${2 * i}.w`))
  expect(groupTensors(scattered).map(({ name }) => name)).toEqual(['layers.{0,2,4,6,...}.w'])
})
test('no tensor is lost', () => {
  const name = fc
    .array(fc.oneof(fc.constantFrom('a', 'b', '0x', ''), fc.nat(12).map(String)), {
      minLength: 1,
      maxLength: 4,
    })
    .map((parts) => parts.join('.'))
  fc.assert(
    fc.property(fc.uniqueArray(name, { maxLength: 30 }), (names) => {
      const groups = groupTensors(names.map((each) => tensor(each)))
      expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(names.length)
      expect(groups.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(12 * names.length)
    }),
  )
})
