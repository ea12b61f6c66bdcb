/** Torch files under damage: cut anywhere, bits flipped, fields blown up, operations that only take memory. Seeds are fixed. */
import { describe, expect, test } from 'vitest'
import { FormatError, PareError } from '../../tensor/errors.ts'
import { type ByteSource, bytesSource } from '../file.ts'
import { numbersBelow } from '../mulberry32.suite.ts'
import { openTorchSource } from './torch.ts'
import {
  bytesOf,
  call,
  dict,
  floats,
  list,
  none,
  oldStream,
  type Part,
  pickle,
  storage,
  tensor,
  text,
  whole,
  zipFile,
} from './torch_files.suite.ts'

const cases = 1500
const data = { 0: floats(0, 1, 2, 3, 4, 5), 1: floats(6, 7) }
const stateOf = (old: boolean): Part =>
  dict(
    [text('whole'), tensor(storage({ old }), 0, [2, 3], [3, 1])],
    [text('turned'), tensor(storage({ old }), 0, [3, 2], [1, 3])],
    [
      text('other'),
      call(
        'torch._utils._rebuild_parameter',
        tensor(storage({ old, key: '1', count: 2 }), 0, [2], [1]),
        0x88,
        none,
      ),
    ],
    [text('epoch'), list(whole(3), none)],
  )
const containers: [string, Uint8Array][] = [
  ['old', oldStream(stateOf(true), data)],
  ['zip', zipFile(stateOf(false), data)],
]

function damage(original: Uint8Array, below: (n: number) => number): Uint8Array {
  const bytes = original.slice(0, below(3) === 0 ? below(original.length + 1) : original.length)
  if (bytes.length === 0) return bytes
  const flips = below(4)
  for (let i = 0; i < flips; i++) bytes[below(bytes.length)]! ^= 1 << below(8)
  // Sometimes a whole field becomes gigantic, or one byte another operation.
  if (below(4) === 0) bytes.fill(below(2) === 0 ? 0xff : 0x7f, below(bytes.length), below(bytes.length) + 4)
  if (below(4) === 0) bytes[below(bytes.length)] = below(256)
  return bytes
}

describe.each(containers)('%s', (_, original) => {
  test('the undamaged file opens', () => {
    expect([...openTorchSource(bytesSource('x', original)).tensors.keys()]).toEqual([
      'whole',
      'turned',
      'other',
    ])
  })
  test('damage ends in a typed error, or in tensors that lie inside the file', () => {
    let [opened, refused] = [0, 0]
    for (let seed = 0; seed < cases; seed++) {
      const bytes = damage(original, numbersBelow(seed))
      const inner = bytesSource('x', bytes)
      let asked = 0
      const source: ByteSource = {
        ...inner,
        read(offset, length) {
          const read = inner.read(offset, length)
          asked += length
          return read
        },
      }
      try {
        const archive = openTorchSource(source)
        opened++
        for (const { name, bytes: size, offset, shape } of archive.tensors.values()) {
          expect(offset, `seed ${seed}`).toBeLessThanOrEqual(bytes.length)
          expect(archive.read(name)).toHaveLength(size)
          if (shape.length > 0) expect(archive.readRows(name, 0, shape[0]!)).toHaveLength(size)
        }
      } catch (error) {
        if (!(error instanceof PareError)) throw new Error(`seed ${seed}`, { cause: error })
        refused++
      }
      // Headers, the pickle and the tensors are each read a few times; nothing is read because a length says so.
      expect(asked, `seed ${seed}`).toBeLessThanOrEqual(12 * original.length)
    }
    expect(opened).toBeGreaterThan(cases / 20)
    expect(refused).toBeGreaterThan(cases / 4)
  })
  test('every cut is noticed', () => {
    for (let length = 0; length < original.length; length++)
      expect(() => openTorchSource(bytesSource('x', original.slice(0, length))), `cut at ${length}`).toThrow(
        PareError,
      )
  })
})

/** A file that begins as a torch stream does, and then repeats a few bytes for long. */
function endless(operations: readonly number[], size: number): ByteSource {
  const start = bytesOf(
    pickle([0x8a, 10, [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19]]),
    pickle(whole(1001)),
    pickle(dict([text('little_endian'), 0x88])),
    0x80,
    2,
  )
  return {
    name: 'x',
    size,
    read(offset, length) {
      const bytes = new Uint8Array(length)
      for (let i = 0; i < length; i++)
        bytes[i] = start[offset + i] ?? operations[(offset + i) % operations.length]!
      return bytes
    },
    close() {},
  }
}
const letters = (operations: string) => [...operations].map((letter) => letter.charCodeAt(0))

test.each([
  ['values', 'N'],
  ['marks', '('],
  ['dictionaries', '}'],
  ['lists in lists', ']'],
  ['tuples in tuples', ')\u0085'],
])('a pickle of %s without end is refused with bounded memory', (_, operations) => {
  const before = process.memoryUsage().rss
  expect(() => openTorchSource(endless(letters(operations), 2 ** 40))).toThrow(FormatError)
  expect(process.memoryUsage().rss - before).toBeLessThan(600 * 2 ** 20)
})
test('a pickle that remembers without end is refused', () => {
  // LONG_BINPUT of the index that its own operations spell: always new ones.
  let index = 0
  const inner = endless([0x4e], 2 ** 40)
  const source: ByteSource = {
    ...inner,
    read(offset, length) {
      const bytes = inner.read(offset, length)
      for (let i = 200; i + 5 <= length; i += 5) {
        bytes[i] = 0x72
        new DataView(bytes.buffer).setUint32(i + 1, index++, true)
      }
      return bytes
    },
  }
  expect(() => openTorchSource(source)).toThrow(FormatError)
})
