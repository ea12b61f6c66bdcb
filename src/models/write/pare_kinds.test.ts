/** Pare folders whose weights are of every kind, and those of version 1 as they always were. */
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { affineGrid, gridSource, neighbourGroups } from '../../nn/grid.ts'
import { decodeStored, type StoredValues, storedSource } from '../../nn/values/values.ts'
import { OptionError } from '../../tensor/errors.ts'
import { randomStream, scope, tensor } from '../../tensor/index.ts'
import { numbers } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { describeStored } from '../stored/pare_tensors.ts'
import { leafKinds, RandomValues, type Shape, treeKinds } from '../stored/random_values.suite.ts'
import type { FolderSource } from './folder_source.ts'
import { planPare } from './pare_target.ts'
import { differences, reopened, sizeOf, writeWideModel } from './sources.suite.ts'
import { folderSource } from './target.ts'

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-kinds-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide'), { type: 'F16', tied: true }))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})

/** Low rank beside a permuted grid, with numbers whose sums are rounded. */
function lowRank(shape: Shape): StoredValues {
  const noise = (rows: number, columns: number): StoredValues => ({
    kind: 'dense',
    numbers: randomStream(rows, 'low rank').normal([rows, columns]),
  })
  const random = new RandomValues(3)
  return {
    kind: 'sum',
    terms: [
      random.of('permuted', shape),
      { kind: 'product', left: noise(shape[0], 40), right: noise(40, shape[1]) },
      random.of('sparse_rows', shape),
    ],
  }
}

test.each([0, 1, 2])(
  'a folder with weights of every kind opens, and holds them bit for bit (%i)',
  (third) => {
    scope(() => {
      const source = folderSource(wide)
      const kinds = [...leafKinds, ...treeKinds].slice(third * 6, third * 6 + 6)
      const random = new RandomValues(third + 1)
      const stored = new Map(
        [...source.matrices].map((name, i): [string, StoredValues] => {
          const shape = source.infos.get(name)!.shape as unknown as Shape
          return [name, kinds[i] ? random.of(kinds[i], shape) : lowRank(shape)]
        }),
      )
      expect(stored.size).toBeGreaterThan(kinds.length)
      const described = new Map([...stored].map(([name, values]) => [name, describeStored(values)]))
      const plan = planPare(source, { grid: affineGrid(), groupsSorted: false, described })
      const target = join(folder, `kinds-${third}`)
      mkdirSync(target)
      const writer = plan.create(target)
      for (const tensorPlan of plan.tensors) {
        const values = stored.get(tensorPlan.name)
        const encoded = values
          ? plan.encodeSource(tensorPlan, storedSource(values))
          : plan.encodeNumbers(tensorPlan, wide.weights.load(tensorPlan.name))
        expect(encoded.map(({ name, bytes }) => ({ name, bytes: bytes.length }))).toEqual(
          plan.stored(tensorPlan),
        )
        for (const { name, bytes } of encoded) writer.append(name, bytes)
      }
      writer.finish()
      expect(sizeOf(join(target, 'model.safetensors'))).toBe(plan.fileBytes)
      const json = readFileSync(join(target, 'pare.json'), 'utf8')
      expect(JSON.parse(json).version).toBe(
        /"rotated_grid"/.test(json)
          ? 5
          : /"(?:masked_grid|column_levels|scaleBits|zeroBits|wholeZeros)"/.test(json)
            ? 4
            : 2,
      )
      reopened(target, ({ weights, format }) => {
        expect(format).toBe('pare')
        expect([...weights.infos.keys()].sort()).toEqual([...source.infos.keys()].sort())
        for (const [name, values] of stored) {
          const [rows, columns] = source.infos.get(name)!.shape as [number, number]
          const whole = numbers(decodeStored(values))
          const some = (from: number, to: number) => whole.slice(from * columns, to * columns)
          expect(weights.infos.get(name)!.bytes).toBe(plan.tensors.find((t) => t.name === name)!.bytes)
          expect(differences(numbers(weights.load(name)), whole), name).toBe(0)
          expect(differences(numbers(weights.slice(name, 3, rows - 2)), some(3, rows - 2)), name).toBe(0)
          expect(
            differences(numbers(weights.rows(name, Uint32Array.of(5, 0, rows - 1))), [
              ...some(5, 6),
              ...some(0, 1),
              ...some(rows - 1, rows),
            ]),
            name,
          ).toBe(0)
        }
      })
    })
  },
)

test('a description that is not of the weight is refused before anything is written', () => {
  const source = folderSource(wide)
  const [name] = source.matrices
  for (const shape of [[2, 2], [256]] as never[]) {
    const described = new Map([[name!, { kind: 'dense', shape, numberType: 'f16' } as const]])
    expect(() => planPare(source, { grid: affineGrid(), groupsSorted: false, described })).toThrow(
      OptionError,
    )
  }
})

test('a folder of grids and blocks is of version 1, byte for byte', () => {
  const shapes: [string, number[]][] = [
    ['a', [3, 10]],
    ['b', [2, 7]],
    ['e', [2, 32]],
  ]
  const source: FolderSource = {
    infos: new Map(shapes.map(([name, shape]) => [name, { name, shape, type: 'F16', bytes: 0 }])),
    matrices: new Set(['a', 'b']),
    companions: () => ({ config: {}, files: new Map() }),
  }
  const target = join(folder, 'first')
  mkdirSync(target)
  const options = {
    grid: affineGrid({ bits: 3, groupSize: 4 }),
    groupsSorted: true,
    embedding: 'Q8_0',
  } as const
  const plan = planPare(source, options)
  const writer = plan.create(target)
  const counting = (rows: number, columns: number, step: number) =>
    Float32Array.from({ length: rows * columns }, (_, i) => (i * step) % 8)
  scope(() => {
    for (const tensorPlan of plan.tensors) {
      const [rows, columns] = tensorPlan.shape as [number, number]
      const groups = Math.ceil(columns / 4)
      const encoded =
        tensorPlan.name === 'e'
          ? plan.encodeNumbers(tensorPlan, tensor(counting(rows, columns, 3), [rows, columns]))
          : plan.encodeSource(
              tensorPlan,
              gridSource({
                kind: 'grid',
                grid: options.grid,
                codes: tensor(counting(rows, columns, 5), [rows, columns], 'u8'),
                scales: tensor(counting(rows, groups, 0.25), [rows, groups]),
                zeros: tensor(counting(rows, groups, 3), [rows, groups], 'u8'),
                groupOf: neighbourGroups(columns, 4).reverse(),
              }),
            )
      for (const { name, bytes } of encoded) writer.append(name, bytes)
    }
  })
  writer.finish()
  expect(JSON.parse(readFileSync(join(target, 'pare.json'), 'utf8')).version).toBe(1)
  const hash = (file: string) =>
    createHash('sha256')
      .update(readFileSync(join(target, file)))
      .digest('hex')
  // Of the files that version 1 of the writer made.
  expect([hash('pare.json'), hash('model.safetensors')]).toEqual([
    'de0c2057bfbffce55fd23bbe5862731baecd14e6a3b77769e9c922d30996f4af',
    '0039b632d87570d35ddf38d1a61b0ba016041b5140d47ad390e70d0871a91914',
  ])
})
