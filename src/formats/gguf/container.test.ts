import { expect, test } from 'vitest'
import { FormatError } from '../../tensor/errors.ts'
import { bytesOf, fileOf, header, info, open, text, u32, u64 } from './header_bytes.suite.ts'
import { gguf } from './metadata.ts'

test('a file written by hand is read: sizes stand fastest first, data follows the padding', () => {
  const head = [
    ...header(2, 1),
    ...text('general.architecture'),
    ...u32(8),
    ...text('llama'),
    ...info('w', [3, 2], 0, 0),
    ...info('b', [2], 1, 32),
  ]
  const bytes = fileOf(head, 64)
  const start = bytes.length - 64
  bytes[start + 12] = 7
  for (const version of [2, 3]) {
    bytes[4] = version
    const archive = open(bytes)
    expect(archive).toMatchObject({ version, alignment: 32, format: 'gguf' })
    expect(archive.metadata.get('general.architecture')).toEqual({ type: 'string', value: 'llama' })
    expect(archive.tensors.get('w')).toEqual({
      name: 'w',
      type: 'F32',
      shape: [2, 3],
      bytes: 24,
      offset: start,
      file: 't.gguf',
    })
    expect(archive.tensors.get('b')).toMatchObject({ type: 'F16', shape: [2], bytes: 4, offset: start + 32 })
    expect(archive.readRows('w', 1, 2)[0]).toBe(7)
  }
})
test('a scalar has no axes', () => {
  expect(open(bytesOf(new Map(), [{ name: 's', type: 'F32', shape: [] }])).tensors.get('s')).toMatchObject({
    shape: [],
    bytes: 4,
  })
})
test('header values that straddle the window of the cursor are whole', () => {
  const strings = Array.from({ length: 300_000 }, (_, i) => `token ${i}`)
  const value = open(bytesOf(new Map([['t', gguf.strings(strings)]]))).metadata.get('t')
  expect(value).toEqual(gguf.strings(strings))
})

test.each<[string, number[], number]>([
  ['65,537 keys, of which each would fit', header(0, 65_537), 14 * 65_537],
  ['65,537 tensors, of which each would fit', header(65_537, 0), 24 * 65_537],
  [
    'more truth values than any list has',
    [...header(0, 1), ...text('a'), ...u32(9), ...u32(7), ...u64(2 ** 21 + 1)],
    2 ** 21 + 1,
  ],
  ['another magic', [...u32(0x46554746), ...u32(3), ...u64(0), ...u64(0)], 0],
  ['version 1', header(0, 0, 1), 0],
  ['version 4', header(0, 0, 4), 0],
  ['the other byte order', header(0, 0, 0x03000000), 0],
  ['more tensors than bytes', header(2 ** 40, 0), 0],
  ['a tensor count above 2^63', header(2n ** 64n - 1n, 0), 0],
  ['more values than bytes', header(0, 2 ** 40), 0],
  ['a key longer than the file', [...header(0, 1), ...u64(2 ** 50)], 64],
  ['an empty key', [...header(0, 1), ...text(''), ...u32(4), ...u32(1)], 0],
  ['an unknown value type', [...header(0, 1), ...text('a'), ...u32(13), ...u32(1)], 0],
  ['a bool of 2', [...header(0, 1), ...text('a'), ...u32(7), 2], 0],
  ['a key twice', [...header(0, 2), ...[0, 0].flatMap(() => [...text('a'), ...u32(4), ...u32(1)])], 0],
  ['a string longer than the file', [...header(0, 1), ...text('a'), ...u32(8), ...u64(1e6)], 64],
  ['an array longer than the file', [...header(0, 1), ...text('a'), ...u32(9), ...u32(4), ...u64(1e15)], 64],
  [
    'a string array longer than the file',
    [...header(0, 1), ...text('a'), ...u32(9), ...u32(8), ...u64(100)],
    64,
  ],
  ['an array of arrays', [...header(0, 1), ...text('a'), ...u32(9), ...u32(9), ...u64(0)], 64],
  ['text that is not UTF-8', [...header(0, 1), ...text('a'), ...u32(8), ...u64(1), 0xff], 64],
  ['an alignment of 24', [...header(0, 1), ...text('general.alignment'), ...u32(4), ...u32(24)], 64],
  ['an alignment of 0', [...header(0, 1), ...text('general.alignment'), ...u32(4), ...u32(0)], 64],
  ['an alignment as i32', [...header(0, 1), ...text('general.alignment'), ...u32(5), ...u32(32)], 64],
  ['a name of 64 bytes', [...header(1, 0), ...info('a'.repeat(64), [1], 0, 0)], 64],
  ['five axes', [...header(1, 0), ...info('a', [1, 1, 1, 1, 1], 0, 0)], 64],
  ['a name twice', [...header(2, 0), ...info('a', [1], 0, 0), ...info('a', [1], 0, 32)], 64],
  ['a gigantic size', [...header(1, 0), ...info('a', [2n ** 63n], 0, 0)], 64],
  ['a gigantic product', [...header(1, 0), ...info('a', [2n ** 30n, 2n ** 30n], 0, 0)], 64],
  ['half a block', [...header(1, 0), ...info('a', [48], 2, 0)], 64],
  ['a late first tensor', [...header(1, 0), ...info('a', [1], 0, 32)], 64],
  ['a hole', [...header(2, 0), ...info('a', [1], 0, 0), ...info('b', [1], 0, 64)], 128],
  ['an overlap', [...header(2, 0), ...info('a', [1], 0, 0), ...info('b', [1], 0, 0)], 128],
  ['an offset that is not aligned', [...header(2, 0), ...info('a', [1], 0, 0), ...info('b', [1], 0, 4)], 128],
  ['data that is cut', [...header(1, 0), ...info('a', [17], 0, 0)], 64],
  [
    'an unknown type with a lying successor',
    [...header(2, 0), ...info('a', [1], 99, 0), ...info('b', [1], 0, 1e6)],
    64,
  ],
])('%s is refused', (_, head, dataBytes) => {
  expect(() => open(fileOf(head, dataBytes))).toThrow(FormatError)
})
test('a withdrawn type is listed by name and refused when it is read, its neighbours are read', () => {
  const archive = open(
    fileOf(
      [...header(3, 0), ...info('a', [32], 31, 0), ...info('b', [8], 0, 32), ...info('c', [8], 99, 64)],
      96,
    ),
  )
  expect([...archive.tensors.values()].map((t) => [t.type, t.bytes])).toEqual([
    ['Q4_0_4_4', 32],
    ['F32', 32],
    ['type 99', 32],
  ])
  expect(() => archive.read('a')).toThrow(/Q4_0_4_4/)
  expect(() => archive.readRows('c', 0, 1)).toThrow(/type 99/)
  expect(archive.read('b')).toHaveLength(32)
})
