import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { FormatError, OptionError, PareError } from '../../tensor/errors.ts'
import { bytesOf } from '../../tensor/index.ts'
import { numbersBelow } from '../mulberry32.suite.ts'
import { openGguf } from './container.ts'
import { type Imatrix, type InputSquares, meanSquares, readImatrix, writeImatrix } from './imatrix.ts'
import { gguf } from './metadata.ts'
import { createGguf } from './writer.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-imatrix-'))
afterAll(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'imatrix')

const imatrix = (entries: Record<string, InputSquares>): Imatrix => ({
  entries: new Map(Object.entries(entries)),
  datasets: ['text.txt'],
  chunks: 3,
  chunkSize: 512,
})
const squares = (sums: number[], ...counts: number[]): InputSquares => ({
  sums: Float32Array.from(sums),
  counts: Float32Array.from(counts),
})
const example = imatrix({
  'blk.0.attn_q.weight': squares([8, 2, 0, 0.5], 2),
  'blk.1.ffn_down_exps.weight': squares([4, 8, 1, 1], 4, 0),
})

/** The binary layout of old files. */
function legacy(
  entries: [name: string, calls: number, values: number[]][],
  tail: (number | string)[],
): Uint8Array {
  const parts: Uint8Array[] = []
  const put = (value: number | string) => {
    const bytes = typeof value === 'string' ? Buffer.from(value) : bytesOf(Int32Array.of(value))
    parts.push(bytes)
  }
  put(entries.length)
  for (const [name, calls, values] of entries) {
    for (const part of [Buffer.byteLength(name), name, calls, values.length]) put(part)
    parts.push(bytesOf(Float32Array.from(values)))
  }
  for (const part of tail) put(part)
  return Buffer.concat(parts)
}
const old = legacy([['blk.0.attn_q.weight', 2, [8, 2, 0, 0.5]]], [7, 8, 'text.txt'])

test('a file has the names, types, shapes and keys that llama.cpp looks for', () => {
  writeImatrix(path, example)
  const archive = openGguf(path)
  expect([...archive.tensors.values()].map(({ name, type, shape }) => [name, type, shape])).toEqual([
    ['blk.0.attn_q.weight.in_sum2', 'F32', [1, 4]],
    ['blk.0.attn_q.weight.counts', 'F32', [1, 1]],
    ['blk.1.ffn_down_exps.weight.in_sum2', 'F32', [2, 2]],
    ['blk.1.ffn_down_exps.weight.counts', 'F32', [2, 1]],
  ])
  expect([...archive.metadata]).toEqual([
    ['general.type', { type: 'string', value: 'imatrix' }],
    ['imatrix.datasets', { type: 'array', element: 'string', value: ['text.txt'] }],
    ['imatrix.chunk_count', { type: 'u32', value: 3 }],
    ['imatrix.chunk_size', { type: 'u32', value: 512 }],
  ])
  archive.close()
})
test('what is written is read again', () => {
  const value = fc.float({ min: 0, noNaN: true, noDefaultInfinity: true })
  const entry = fc
    .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 5 }))
    .chain(([experts, inputs]) =>
      fc.record({
        sums: fc.array(value, { minLength: experts * inputs, maxLength: experts * inputs }),
        counts: fc.array(fc.nat(1e6), { minLength: experts, maxLength: experts }),
      }),
    )
  const name = fc.integer({ min: 0, max: 99 }).map((i) => `blk.${i}.attn_q.weight`)
  const entries = fc.dictionary(name, entry, { minKeys: 1, maxKeys: 4 })
  fc.assert(
    fc.property(entries, fc.array(fc.string()), fc.nat(), (written, datasets, chunks) => {
      const whole = {
        entries: new Map(
          Object.entries(written).map(([key, { sums, counts }]) => [key, squares(sums, ...counts)]),
        ),
        datasets,
        chunks,
        chunkSize: 512,
      }
      writeImatrix(path, whole)
      expect(readImatrix(path)).toEqual(whole)
    }),
    { numRuns: 50 },
  )
})
test('the importance of an input is the mean of its squares, and 1 where an expert met no token', () => {
  const [first, second] = [...example.entries.values()].map((entry) => [...meanSquares(entry)])
  expect(first).toEqual([4, 1, 0, 0.25])
  expect(second).toEqual([1, 2, 1, 1])
})
test('the layout of old files has the same importance', () => {
  writeFileSync(path, old)
  const { entries, ...rest } = readImatrix(path)
  expect(rest).toEqual({ datasets: ['text.txt'], chunks: 7, chunkSize: 0 })
  expect([...meanSquares(entries.get('blk.0.attn_q.weight')!)]).toEqual([4, 1, 0, 0.25])
  writeFileSync(path, legacy([['a', 0, [3]]], []))
  expect([...meanSquares(readImatrix(path).entries.get('a')!)]).toEqual([3])
})
test.each<[string, RegExp, () => void]>([
  ['a model', /type model, .*imatrix/, () => write({ 'a.in_sum2': [1], 'a.counts': [1] }, 'model')],
  ['sums without counts', /a\.counts is missing/, () => write({ 'a.in_sum2': [1] })],
  ['counts without sums', /a has counts and no sums/, () => write({ 'a.counts': [1] })],
  [
    'sums that do not divide',
    /3 sums and 2 counts/,
    () => write({ 'a.in_sum2': [1, 2, 3], 'a.counts': [1, 1] }),
  ],
  ['a negative sum', /a\.in_sum2 holds -1 at 1/, () => write({ 'a.in_sum2': [0, -1], 'a.counts': [1] })],
  ['no number', /holds NaN at 0/, () => write({ 'a.in_sum2': [Number.NaN], 'a.counts': [1] })],
  [
    'an endless count',
    /a\.counts holds Infinity/,
    () => write({ 'a.in_sum2': [1], 'a.counts': [Number.POSITIVE_INFINITY] }),
  ],
  ['half a token', /no whole numbers/, () => write({ 'a.in_sum2': [1], 'a.counts': [0.5] })],
  ['nothing', /the importance of no weight/, () => write({})],
  [
    'an old file with a negative value',
    /holds -2 at 0/,
    () => writeFileSync(path, legacy([['a', 1, [-2]]], [])),
  ],
  ['an old file that is cut', /needs|is cut|or cut/, () => writeFileSync(path, old.subarray(0, 30))],
  [
    'another file',
    /no importance matrix/,
    () => writeFileSync(path, 'this is a text, and no importance matrix'),
  ],
])('%s is refused', (_, message, make) => {
  make()
  expect(() => readImatrix(path)).toThrow(FormatError)
  expect(() => readImatrix(path)).toThrow(message)
})
test('damage ends in a typed error or in numbers that can be used', () => {
  writeImatrix(path, example)
  let [read, refused] = [0, 0]
  for (const original of [new Uint8Array(readFileSync(path)), old]) {
    for (let seed = 0; seed < 500; seed++) {
      const below = numbersBelow(seed)
      const bytes = original.slice(0, below(3) === 0 ? below(original.length + 1) : original.length)
      for (let i = below(4); i > 0 && bytes.length > 0; i--) bytes[below(bytes.length)]! ^= 1 << below(8)
      writeFileSync(path, bytes)
      try {
        for (const entry of readImatrix(path).entries.values())
          expect(meanSquares(entry).every((x) => x >= 0 && x < Number.POSITIVE_INFINITY)).toBe(true)
        read++
      } catch (error) {
        expect(error).toBeInstanceOf(PareError)
        refused++
      }
    }
  }
  expect(Math.min(read, refused)).toBeGreaterThan(50)
})
test('sums that do not divide into experts are not written', () => {
  expect(() => writeImatrix(path, imatrix({ a: squares([1, 2, 3], 1, 1) }))).toThrow(OptionError)
})

function write(tensors: Record<string, number[]>, type = 'imatrix'): void {
  const infos = Object.entries(tensors).map(([name, { length }]) => ({ name, type: 'F32', shape: [length] }))
  const writer = createGguf(path, new Map([['general.type', gguf.string(type)]]), infos)
  for (const [name, values] of Object.entries(tensors))
    writer.append(name, bytesOf(Float32Array.from(values)))
  writer.finish()
}
