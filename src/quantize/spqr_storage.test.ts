/** What spqr makes, as files hold it: Pare folders, and the checkpoints that transformers loads. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { f16ToNumber, numberToF16 } from '../formats/half.ts'
import { readOutliers, type SpqrOutliers, writeCsr, writePtcsr } from '../formats/spqr_outliers.ts'
import { packSpqr, unpackSpqr } from '../formats/spqr_packing.ts'
import { openLanguageModel } from '../models/load_model.ts'
import type { OpenLanguageModel } from '../models/open_model.ts'
import { describeStored } from '../models/stored/pare_tensors.ts'
import { planPare } from '../models/write/pare_target.ts'
import { reopened, writeWideModel } from '../models/write/sources.suite.ts'
import { planSpqr } from '../models/write/spqr_target.ts'
import { folderSource } from '../models/write/target.ts'
import type { TensorChoice } from '../models/write/tensor_choice.ts'
import { affineGrid } from '../nn/grid.ts'
import { syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import type { BilevelValues } from '../nn/values/bilevel_grid.ts'
import type { SparseRowValues } from '../nn/values/sparse_rows.ts'
import type { StoredSource, StoredValues } from '../nn/values/values.ts'
import { randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
import { type SpqrOptions, spqr } from './spqr.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const { gram } = syntheticLayer({ seed: 2, rows: 1, columns: 256, tokens: 600 })
function compressed(dense: Tensor, options: SpqrOptions = {}) {
  const columns = dense.extent(1)
  const { source, decoded } = spqr(options).compress({
    ...{ name: 'layer', dense, current: dense },
    statistics: { gram: gram.slice(0, 0, columns).slice(1, 0, columns).contiguous(), rows: 600 },
  })
  return { values: (source as StoredSource).values, decoded: decoded! }
}

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spqr-storage-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide'), { type: 'F16', tied: true }))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})

/** All matrices of the model, compressed; written and opened again. */
function throughFolder(target: 'pare' | 'spqr', options: SpqrOptions): void {
  scope(() => {
    const source = folderSource(wide)
    const made = new Map(
      [...source.matrices].map((name) => [name, compressed(wide.weights.load(name), options)]),
    )
    const described = new Map([...made].map(([name, { values }]) => [name, describeStored(values)]))
    const choices = new Map(
      [...wide.weights.infos.keys()].map((name): [string, TensorChoice] => {
        const form = described.get(name)
        return [name, form ? { described: form, by: 'test' } : { keep: true, by: 'test' }]
      }),
    )
    const plan =
      target === 'spqr'
        ? planSpqr(source, { choices })
        : planPare(source, { grid: affineGrid(), groupsSorted: false, described })
    const path = join(folder, `${target}-${JSON.stringify(options).replace(/\W/g, '')}`)
    mkdirSync(path)
    const writer = plan.create(path)
    for (const each of plan.tensors)
      scope(() => {
        const own = made.get(each.name)
        const encoded = own
          ? plan.encodeSource(each, { values: own.values, shape: each.shape } as unknown as StoredSource)
          : plan.encodeNumbers(each, wide.weights.load(each.name))
        if (own && target === 'spqr')
          expect(encoded.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)).toBe(layerBytes(own.values))
        for (const { name, bytes } of encoded) writer.append(name, bytes)
      })
    writer.finish()
    reopened(path, ({ weights }) => {
      for (const [name, { decoded }] of made)
        expect(numbers(weights.load(name)), name).toEqual(numbers(decoded))
    })
  })
}

test.each<SpqrOptions>([{}, { actOrder: false, outlierThreshold: Number.POSITIVE_INFINITY }])(
  '7 and 8: a checkpoint for transformers takes the bytes of the formula, and holds the values of the method bit for bit: %j',
  (options) => throughFolder('spqr', options),
)
test.each<SpqrOptions>([
  {},
  { bits: 4, scaleBits: 5, groupSize: 32 },
  { roundZero: true },
  { secondOrder: false, outlierThreshold: 0.1 },
])('a Pare folder holds the values of the method bit for bit: %j', (options) =>
  throughFolder('pare', options),
)
test('only 3 bits throughout in tiles of 16 by 16 can be written for transformers', () => {
  for (const options of [
    { bits: 4 },
    { zeroBits: 4 },
    { groupSize: 32 },
    { tileRows: 8 },
    { roundZero: true },
  ])
    expect(() => throughFolder('spqr', options)).toThrow(/an SpQR checkpoint needs codes of another kind/)
})

interface Parts {
  dense: BilevelValues
  outliers: SparseRowValues
  order: Uint32Array
}
/** 8 bytes for 16 weights, 4 a row and one more, 4 an outlier, and 2 a column where columns stand in another order. */
function layerBytes(values: StoredValues): number {
  const sum = values.kind === 'permuted' ? values.values : values
  const [dense, outliers] = (sum as StoredValues & { kind: 'sum' }).terms as [BilevelValues, SparseRowValues]
  const [rows, columns] = dense.codes.shape as [number, number]
  const order = values.kind === 'permuted' ? 2 * columns : 0
  return (8 * rows * columns) / 16 + 4 * (rows + 1) + 4 * outliers.values.length + order
}
function partsOf(values: StoredValues): Parts {
  const { values: sum, order } = values as StoredValues & { kind: 'permuted' }
  const [dense, outliers] = (sum as StoredValues & { kind: 'sum' }).terms
  return { dense: dense as BilevelValues, outliers: outliers as SparseRowValues, order }
}
const halfStep = (x: number) => f16ToNumber(numberToF16(Math.fround(x)))

/** The packed words of a layer, and what they say: dense values and outliers in the order of the sweep. */
function packedLayer({ dense, outliers }: Parts, write: typeof writeCsr) {
  const [rows, columns] = dense.codes.shape as [number, number]
  const { second } = dense
  const parts = [second.scaleScale, second.zeroScale!, second.scaleZero, second.zeroZero!].map(numbers)
  const bytes = (x: Tensor) => x.toArray() as Uint8Array
  const words = packSpqr(
    {
      codes: bytes(dense.codes),
      scaleCodes: bytes(dense.scaleCodes),
      zeroCodes: bytes(dense.zeroCodes),
      secondOrder: Uint16Array.from({ length: 4 * parts[0]!.length }, (_, i) =>
        numberToF16(parts[i % 4]![i >> 2]!),
      ),
    },
    rows,
    columns,
  )
  const sparse = write({
    rowOffsets: outliers.rowOffsets,
    columns: Uint16Array.from(outliers.columns),
    values: Uint16Array.from(outliers.values, numberToF16),
  })
  const fields = unpackSpqr(words, rows, columns)
  const across = columns / 16
  const values = Array.from(fields.codes, (code, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns]
    const group = row * across + (column >> 4)
    const tile = 4 * ((row >> 4) * across + (column >> 4))
    const [ss, sz, zs, zz] = Array.from(fields.secondOrder.subarray(tile, tile + 4), f16ToNumber) as [
      number,
      number,
      number,
      number,
    ]
    const s = halfStep(ss * halfStep(fields.scaleCodes[group]! - zs))
    const z = halfStep(sz * halfStep(fields.zeroCodes[group]! - zz))
    return halfStep(s * halfStep(code - z))
  })
  return { values, words, sparse, read: readOutliers(sparse, rows, columns) }
}
const entriesOf = ({ rowOffsets, columns, values }: SpqrOutliers) =>
  Array.from({ length: rowOffsets.length - 1 }, (_, row) =>
    Array.from({ length: rowOffsets[row + 1]! - rowOffsets[row]! }, (_, i) => {
      const at = rowOffsets[row]! + i
      return { column: columns[at]!, value: f16ToNumber(values[at]!) }
    }),
  )

describe.each(['CSR', 'PTCSR'] as const)('%s', (layout) => {
  const write = layout === 'CSR' ? writeCsr : writePtcsr
  const weight = randomStream(3, 'weights').normal([32, 64]).mul(0.1)
  /** No outlier in the first rows, some in the others, or none at all. */
  const uneven = tensor(
    Float32Array.from(numbers(weight), (w, i) =>
      i < 20 * 64 ? ((i * 5) % 8) / 64 : i % 50 === 0 ? 8 * w : w,
    ),
    [32, 64],
  )
  test.each<[string, SpqrOptions]>([
    ['outliers', { outlierThreshold: 0.05 }],
    ['no outliers', { outlierThreshold: Number.POSITIVE_INFINITY }],
  ])('8: what is packed is the weight that was simulated, with %s', (_, options) => {
    const { values, decoded } = compressed(uneven, options)
    const parts = partsOf(values)
    const packed = packedLayer(parts, write)
    const rows = entriesOf(packed.read)
    expect(rows.some((row) => row.length === 0)).toBe(true)
    const found = packed.values.slice()
    for (const [row, entries] of rows.entries())
      for (const { column, value } of entries)
        found[row * 64 + column] = halfStep(found[row * 64 + column]! + value)
    const sorted = numbers(decoded)
    const expected = found.map((_, at) => sorted[at - (at % 64) + parts.order[at % 64]!]!)
    expect(found).toEqual(expected)
  })
  test.each([
    [16, 16],
    [32, 64],
    [64, 16],
    [16, 256],
    [112, 208],
  ])(
    '9: tiles and outliers of %i x %i times an input, in the order of the sweep, are the dense product',
    (rows, columns) => {
      const random = randomStream(6, `${rows} x ${columns}`)
      const spiky = tensor(
        Float32Array.from(numbers(random.normal([rows, columns])), (w, i) => (i % 50 === 0 ? 8 * w : w)),
        [rows, columns],
      )
      const parts = partsOf(compressed(spiky, { outlierThreshold: 0.05 }).values)
      const packed = packedLayer(parts, write)
      const x = numbers(random.normal([columns]))
      const gathered = Float32Array.from(parts.order, (column) => x[column]!)
      let outliers = 0
      for (const [row, entries] of entriesOf(packed.read).entries()) {
        outliers += entries.length
        let sum = 0
        const dense = Float64Array.from(packed.values.slice(row * columns, (row + 1) * columns))
        for (const [c, w] of dense.entries()) sum = Math.fround(sum + Math.fround(w * gathered[c]!))
        for (const { column, value } of entries) {
          sum = Math.fround(sum + Math.fround(value * gathered[column]!))
          dense[column]! += value
        }
        let [expected, size] = [0, 0]
        for (const [c, w] of dense.entries()) {
          const product = w * x[parts.order[c]!]!
          expected += product
          size += Math.abs(product)
        }
        expect(Math.abs(sum - expected)).toBeLessThanOrEqual(size * (columns + entries.length + 1) * 2 ** -24)
      }
      expect(outliers).toBeGreaterThan(0)
    },
  )
  test('7: a packed layer takes 8 bytes for 16 weights, 4 an outlier, and offsets and order', () => {
    const { values } = compressed(uneven, { outlierThreshold: 0.05 })
    const parts = partsOf(values)
    const { words, sparse } = packedLayer(parts, write)
    const entries = parts.outliers.values.length
    expect(words.byteLength).toBe((8 * 32 * 64) / 16)
    if (layout === 'CSR')
      expect([sparse.rowOffsets.byteLength, sparse.colVals.byteLength]).toEqual([4 * 33, 4 * entries])
    else expect(sparse.colVals.byteLength).toBeGreaterThanOrEqual(4 * entries)
  })
})
