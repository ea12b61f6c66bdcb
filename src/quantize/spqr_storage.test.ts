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
import { matmul, randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
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
  '8: a checkpoint for transformers holds the values of the method bit for bit: %j',
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
  test('9: tiles and outliers times an input are the dense product, with inputs gathered in the order of the sweep', () => {
    const { values, decoded } = compressed(uneven, { outlierThreshold: 0.05 })
    const parts = partsOf(values)
    const packed = packedLayer(parts, write)
    const x = numbers(randomStream(4, 'input').normal([64]))
    const gathered = Float32Array.from(parts.order, (column) => x[column]!)
    const expected = numbers(matmul(decoded, tensor(x, [64, 1])))
    for (const [row, entries] of entriesOf(packed.read).entries()) {
      let sum = 0
      for (let c = 0; c < 64; c++)
        sum = Math.fround(sum + Math.fround(packed.values[row * 64 + c]! * gathered[c]!))
      for (const { column, value } of entries) sum = Math.fround(sum + Math.fround(value * gathered[column]!))
      const size = numbers(decoded)
        .slice(row * 64, row * 64 + 64)
        .reduce((total, w, c) => total + Math.abs(w * x[c]!), 0)
      // Some 64 roundings to f32, and that of sums at outliers to f16.
      expect(Math.abs(sum - expected[row]!)).toBeLessThan(
        size * (64 * 2 ** -24 + (entries.length > 0 ? 2 ** -11 : 0)),
      )
    }
  })
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
