import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { affineGrid, neighbourGroups } from '../nn/grid.ts'
import { bitmaskOf, packMarks } from '../nn/values/bitmask.ts'
import { FormatError, OptionError, PareError, SourceError } from '../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../tensor/index.ts'
import { openLevels, writeLevels } from './level_database.ts'
import { readIndex } from './level_index.ts'
import { bitsOfLevel, decodeLevel, type Level, type LevelValues, relativeOutputError } from './levels.ts'

const root = mkdtempSync(join(tmpdir(), 'pare-levels-'))
afterAll(() => rmSync(root, { recursive: true }))
let folders = 0
const folder = () => join(root, String(folders++))
const numbers = (x: Tensor) => Array.from(x.toArray(), Number)

const shape = [3, 10] as const
const weight = tensor(
  Float32Array.from({ length: 30 }, (_, i) => Math.sin(i) + 2),
  shape,
)
const mask = Uint8Array.from({ length: 30 }, (_, i) => Number(i % 3 > 0 && i > 11))

const numbersLevel = (numberType: 'f16' | 'f32', own?: Uint8Array): LevelValues => {
  const kept = own ? bitmaskOf(weight, own, 'f32').kept : weight.reshape([30])
  return {
    kind: 'numbers',
    shape,
    kept: kept.cast(numberType),
    ...(own && { mask: packMarks(own, shape) }),
  }
}
const codesLevel = (bits: 2 | 3 | 8, symmetric: boolean, own?: Uint8Array): LevelValues => {
  const zero = symmetric ? 2 ** (bits - 1) : 1
  const codes = Uint8Array.from({ length: 30 }, (_, i) => (own && !own[i] ? zero : (i * 5) % 2 ** bits))
  const values = {
    kind: 'grid' as const,
    grid: affineGrid({ bits, groupSize: 4, symmetric }),
    codes: tensor(codes, shape, 'u8'),
    scales: tensor(
      Float32Array.from({ length: 9 }, (_, i) => 2 ** -(i + 1)),
      [3, 3],
    ),
    zeros: tensor(new Uint8Array(9).fill(zero), [3, 3], 'u8'),
    groupOf: neighbourGroups(10, 4),
  }
  return { kind: 'codes', values, ...(own && { mask: packMarks(own, shape) }) }
}
const levels: Level[] = [
  { level: 'dense', values: numbersLevel('f32'), error: 0 },
  { level: 'half', values: numbersLevel('f16'), error: 1e-6 },
  { level: 'sparse', values: numbersLevel('f32', mask), error: 0.25 },
  { level: 'nothing', values: numbersLevel('f32', new Uint8Array(30)), error: 1 },
  { level: '3 bits', values: codesLevel(3, false), error: 0.5 },
  { level: '8 bits', values: codesLevel(8, true), error: 0.125 },
  { level: '2 bits, sparse', values: codesLevel(2, true, mask), error: 0.75, pattern: { n: 2, m: 4 } },
  { level: '3 bits, sparse', values: codesLevel(3, false, mask), error: 0.7 },
]
const made = (name = 'fc.weight') => {
  const path = folder()
  writeLevels(path).add({ name, shape, uses: 7 }, levels)
  return path
}

describe('a database', () => {
  test('gives back every level, bit for bit', () => {
    const { layers, read } = openLevels(made())
    expect(layers).toHaveLength(1)
    expect([layers[0]!.name, layers[0]!.uses, layers[0]!.shape]).toEqual(['fc.weight', 7, [3, 10]])
    for (const { level, values, error, pattern } of levels) {
      const found = read('fc.weight', level)
      expect(numbers(decodeLevel(found)), level).toEqual(numbers(decodeLevel(values)))
      expect(bitsOfLevel(found)).toBe(bitsOfLevel(values))
      const indexed = layers[0]!.levels.find((other) => other.level === level)!
      expect([indexed.error, indexed.pattern]).toEqual([error, pattern])
    }
  })
  test('counts the bits that it stores', () => {
    const kept = mask.filter((bit) => bit).length
    const bits = Object.fromEntries(levels.map(({ level, values }) => [level, bitsOfLevel(values)]))
    expect(bits).toEqual({
      dense: 960,
      half: 480,
      sparse: 48 + 32 * kept,
      nothing: 48,
      '3 bits': 90 + 9 * 24,
      '8 bits': 240 + 9 * 16,
      '2 bits, sparse': 48 + 2 * kept + 9 * 16,
      '3 bits, sparse': 48 + 3 * kept + 9 * 24,
    })
  })
  test('grows layer by layer, in one run or several, and is whole after each', () => {
    const path = made('a')
    const again = writeLevels(path)
    expect(again.layers.map(({ name }) => name)).toEqual(['a'])
    again.add({ name: 'b', shape, uses: 1 }, levels.slice(0, 1))
    expect(openLevels(path).layers.map(({ name, file }) => [name, file])).toEqual([
      ['a', 'layer-00001.safetensors'],
      ['b', 'layer-00002.safetensors'],
    ])
    expect(() => again.add({ name: 'b', shape, uses: 1 }, levels)).toThrow(/is in the database already/)
  })
  test('that a layer failed in keeps what was there, and takes the layer again', () => {
    const path = made('a')
    const writer = writeLevels(path)
    const failing = function* () {
      yield levels[0]!
      throw new Error('stopped')
    }
    expect(() => writer.add({ name: 'b', shape, uses: 1 }, failing())).toThrow('stopped')
    expect(openLevels(path).layers).toHaveLength(1)
    writer.add({ name: 'b', shape, uses: 1 }, levels)
    expect(numbers(decodeLevel(openLevels(path).read('b', 'sparse')))).toEqual(
      numbers(decodeLevel(levels[2]!.values)),
    )
  })
  test('refuses what it could not give back', () => {
    const writer = writeLevels(folder())
    const add = (...more: Level[]) => writer.add({ name: 'a', shape, uses: 1 }, more)
    expect(() => add(levels[0]!, levels[0]!)).toThrow(/two levels are called dense/)
    expect(() => writer.add({ name: 'a', shape: [2, 10], uses: 1 }, levels)).toThrow(OptionError)
    expect(() => writer.add({ name: 'a', shape, uses: 0.5 }, levels)).toThrow(OptionError)
    expect(() => add({ ...levels[0]!, error: Number.NaN })).toThrow(PareError)
    expect(() => add()).toThrow(PareError)
    const sorted = codesLevel(3, false) as LevelValues & { kind: 'codes' }
    const turned = { ...sorted, values: { ...sorted.values, groupOf: sorted.values.groupOf.toReversed() } }
    expect(() => add({ ...levels[0]!, values: turned })).toThrow(/neighbouring/)
    expect(() => openLevels(made()).read('fc.weight', 'gone')).toThrow(OptionError)
    expect(() => openLevels(join(root, 'nowhere'))).toThrow(SourceError)
  })
})

describe('a damaged database ends in a typed error', () => {
  const index = () => JSON.parse(readFileSync(join(made(), 'levels.json'), 'utf8'))
  const changed = (path: string, value: unknown): unknown => {
    const json = index()
    const keys = path.split('.')
    const inside = keys.slice(0, -1).reduce((at, key) => at[key], json)
    inside[keys.at(-1)!] = value
    return json
  }
  const level = 'layers.0.levels'
  const changes: [path: string, value: unknown][] = [
    ['format', 'other'],
    ['version', 0],
    ['version', 9],
    ['layers', {}],
    ['layers.0.name', 7],
    ['layers.0.shape', [3]],
    ['layers.0.shape', [2 ** 31, 2 ** 31]],
    ['layers.0.uses', -1],
    ['layers.0.file', '../layer-00001.safetensors'],
    ['layers.0.levels', []],
    [`${level}.0`, null],
    [`${level}.1.level`, 'dense'],
    [`${level}.0.error`, 'none'],
    [`${level}.2.kept`, 31],
    [`${level}.2.masked`, 1],
    [`${level}.0.kept`, 29],
    [`${level}.0.form`, {}],
    [`${level}.0.form.numberType`, 'f64'],
    [`${level}.4.form.bits`, 9],
    [`${level}.4.form.groupSize`, 0],
    [`${level}.6.pattern`, { n: 5, m: 4 }],
  ]
  test.each(changes)('the index: %s of %j', (path, value) => {
    expect(() => readIndex(JSON.stringify(changed(path, value)))).toThrow(FormatError)
  })
  test('the index: a layer that stands twice', () => {
    const json = index()
    expect(() => readIndex(JSON.stringify({ ...json, layers: [json.layers[0], json.layers[0]] }))).toThrow(
      FormatError,
    )
  })
  test('any text as an index', () => {
    for (const text of ['', '[]', 'null', '{"format":"pare-levels","version":1}', '['.repeat(1e5)])
      expect(() => readIndex(text)).toThrow(FormatError)
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(() => readIndex(text)).toThrow(FormatError)
      }),
    )
  })
  test('an index that promises other tensors than the file has', () => {
    const path = made()
    const readWith = (at: number, change: object, form: object = {}) => {
      const json = index()
      const level = json.layers[0].levels[at]
      json.layers[0].levels[at] = { ...level, ...change, form: { ...level.form, ...form } }
      writeFileSync(join(path, 'levels.json'), JSON.stringify(json))
      return () => openLevels(path).read('fc.weight', level.level)
    }
    expect(readWith(0, {}, { numberType: 'f16' })).toThrow(FormatError)
    expect(readWith(2, { kept: 2 })).toThrow(FormatError)
    expect(readWith(4, {}, { bits: 2 })).toThrow(FormatError)
    expect(readWith(5, {}, { symmetric: false })).toThrow(FormatError)
    expect(readWith(5, {})).not.toThrow()
  })
  test('any byte of a layer changed is read as other numbers, or refused; a cut file is refused', () => {
    const path = made()
    const file = join(path, 'layer-00001.safetensors')
    const whole = readFileSync(file)
    const readAll = () => {
      const { read } = openLevels(path)
      for (const { level } of levels) scope(() => decodeLevel(read('fc.weight', level)))
    }
    readAll()
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const bytes = Buffer.from(whole)
        bytes[at]! ^= change
        writeFileSync(file, bytes)
        try {
          readAll()
        } catch (error) {
          expect(error).toBeInstanceOf(PareError)
        }
      }),
      { numRuns: 200 },
    )
    for (const length of [0, 7, 100, whole.length - 1]) {
      writeFileSync(file, whole.subarray(0, length))
      expect(readAll).toThrow(FormatError)
    }
  })
})

test('the relative output error is that of the outputs', () => {
  const [w, changed] = [tensor([3, 4], [1, 2], 'f64'), tensor([3, 0], [1, 2], 'f64')]
  const gram = tensor([1, 0, 0, 4], [2, 2], 'f64')
  // 16 * 4 of 9 + 16 * 4.
  expect(relativeOutputError(w, changed, gram)).toBeCloseTo(64 / 73, 12)
  expect(relativeOutputError(w, changed, gram.mul(0))).toBe(0)
})
