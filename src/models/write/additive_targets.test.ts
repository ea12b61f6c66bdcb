/** AQLM and SpQR checkpoints: what is written is read again, bit for bit. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { f16ToNumber } from '../../formats/half.ts'
import { numbersBelow } from '../../formats/mulberry32.suite.ts'
import type { PareWeight } from '../../formats/pare_weight.ts'
import { decodeStored, type StoredValues, storedSource } from '../../nn/values/values.ts'
import { OptionError } from '../../tensor/errors.ts'
import { scope, tensor } from '../../tensor/index.ts'
import { type FixtureName, numbers, openFixture } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { describeStored } from '../stored/pare_tensors.ts'
import { type CodebookForm, planAqlm } from './aqlm_target.ts'
import type { TargetPlan } from './model_writer.ts'
import { differences, reopened, sizeOf, writeWideModel } from './sources.suite.ts'
import { planSpqr } from './spqr_target.ts'
import { folderSource } from './target.ts'
import type { TensorChoice } from './tensor_choice.ts'

let folder: string
let wide: OpenLanguageModel
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'additive-targets-test-'))
  wide = openLanguageModel(writeWideModel(join(folder, 'wide'), { type: 'F16', tied: true }))
})
afterAll(() => {
  wide.close()
  rmSync(folder, { recursive: true })
})

type Valued = ReadonlyMap<string, StoredValues>

/** Weights that have values are described, the others kept. */
function choicesOf({ weights }: OpenLanguageModel, values: Valued): Map<string, TensorChoice> {
  return new Map(
    [...weights.infos.keys()].map((name) => {
      const own = values.get(name)
      return [name, own ? { described: describeStored(own), by: 'test' } : { keep: true, by: 'test' }]
    }),
  )
}

function write(open: OpenLanguageModel, plan: TargetPlan, values: Valued, target: string): void {
  mkdirSync(target)
  const writer = plan.create(target)
  for (const each of plan.tensors)
    scope(() => {
      const own = values.get(each.name)
      const tensors = own
        ? plan.encodeSource(each, storedSource(own))
        : plan.encodeNumbers(each, open.weights.load(each.name))
      expect(tensors.map(({ name, bytes }) => ({ name, bytes: bytes.length }))).toEqual(plan.stored(each))
      for (const { name, bytes } of tensors) writer.append(name, bytes)
    })
  writer.finish()
  expect(sizeOf(join(target, 'model.safetensors'))).toBe(plan.fileBytes)
}

/** What a checkpoint has as codes. */
const storedOf = ({ weights }: OpenLanguageModel): Valued =>
  new Map(
    [...weights.infos.keys()].flatMap((name) => {
      const values = weights.stored?.(name)
      return values ? [[name, values] as const] : []
    }),
  )

const plans: [FixtureName, (open: OpenLanguageModel, values: Valued) => TargetPlan][] = [
  ...(['aqlm-1x10', 'aqlm-2x8', 'aqlm-2x8-inputs-first'] as const).map((name): (typeof plans)[number] => [
    name,
    (open, values) => {
      const [first] = values.values()
      const form = describeStored(first!) as unknown as CodebookForm
      return planAqlm(folderSource(open), form, { choices: choicesOf(open, values) })
    },
  ]),
  ...(['spqr-csr', 'spqr-ptcsr'] as const).map((name): (typeof plans)[number] => [
    name,
    (open, values) => planSpqr(folderSource(open), { choices: choicesOf(open, values) }),
  ]),
]

test.each(plans)(
  '%s is written as a checkpoint of its kind with the same weights and logits',
  (name, plan) => {
    const open = openFixture(name)
    const target = join(folder, name)
    const tokens = Uint32Array.of(1, 5, 9, 30)
    scope(() => {
      const values = storedOf(open)
      expect(values.size).toBeGreaterThan(5)
      write(open, plan(open, values), values, target)
      reopened(target, (again) => {
        expect(again.format).toBe(open.format)
        for (const weight of open.weights.infos.keys())
          expect(differences(numbers(again.weights.load(weight)), numbers(open.weights.load(weight)))).toBe(0)
        const logits = ({ model }: OpenLanguageModel) => numbers(model.load().forward(tokens))
        expect(logits(again)).toEqual(logits(open))
      })
    })
    open.close()
  },
)

test('SpQR of tiles is written by rows', () => {
  const offsets = (path: string) => {
    const open = openLanguageModel(path)
    const config = (
      open as unknown as { configJson: { quantization_config: { shapes: Record<string, number> } } }
    ).configJson
    open.close()
    return config.quantization_config.shapes['model.layers.0.mlp.up_proj.row_offsets.shape']
  }
  expect(offsets(join(folder, 'spqr-ptcsr'))).toBe(33)
})

const matrixOf = (open: OpenLanguageModel): [string, readonly [number, number]] => {
  const name = 'model.layers.0.mlp.up_proj.weight'
  return [name, open.weights.infos.get(name)!.shape as [number, number]]
}

describe.each([1, 2])('AQLM with %i codebooks', (books) => {
  test('a weight is the sum of its entries times the scale of its row, after writing and reading', () => {
    const [name, shape] = matrixOf(wide)
    const [rows, columns] = shape
    const below = numbersBelow(books)
    const draw = (count: number, top: number) => Uint32Array.from({ length: count }, () => below(top))
    const [bits, size] = [7, 8]
    const halves = (count: number) =>
      Float32Array.from(draw(count, 2 ** 15), (n) => f16ToNumber((n % 0x3c00) | ((n & 1) << 15)))
    const codes = draw(rows * (columns / size) * books, 2 ** bits)
    const codebooks = halves(books * 2 ** bits * size)
    const scales = halves(rows)
    const values: StoredValues = {
      ...{ kind: 'codebook', shape, bits },
      codes: tensor(codes, [rows, columns / size, books], 'u32'),
      codebooks: tensor(codebooks, [books, 2 ** bits, 1, size]),
      scales: tensor(scales, [rows]),
    } as const
    const valued = new Map([[name, values]])
    const target = join(folder, `books-${books}`)
    const form = { bits, books, entries: 2 ** bits, tile: { rows: 1, columns: size } }
    write(wide, planAqlm(folderSource(wide), form, { choices: choicesOf(wide, valued) }), valued, target)
    const naive = Array.from({ length: rows * columns }, (_, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns]
      let sum = 0
      for (let m = 0; m < books; m++) {
        const code = codes[(row * (columns / size) + Math.floor(column / size)) * books + m]!
        sum = Math.fround(sum + codebooks[(m * 2 ** bits + code) * size + (column % size)]!)
      }
      return Math.fround(sum * scales[row]!)
    })
    reopened(target, ({ weights }) => {
      expect(differences(numbers(weights.load(name)), naive)).toBe(0)
    })
    const { quantization_config } = JSON.parse(readFileSync(join(target, 'config.json'), 'utf8'))
    expect(quantization_config).toMatchObject({
      ...{
        quant_method: 'aqlm',
        in_group_size: 8,
        out_group_size: 1,
        num_codebooks: books,
        nbits_per_codebook: 7,
      },
    })
    // transformers 4 asks for the names of weights, 5 for those of modules.
    for (const left of ['lm_head', 'model.layers.0.mlp.down_proj'])
      for (const asked of [left, `${left}.weight`])
        expect(quantization_config.linear_weights_not_to_quantize).toContain(asked)
    expect(quantization_config.linear_weights_not_to_quantize).not.toContain(name)
  })
})

/** Every code, scale code and zero code beside every other one, and outliers at both ends of rows. */
function everyField([rows, columns]: readonly [number, number]): StoredValues {
  const fields = (count: number, step: number) =>
    Uint8Array.from({ length: count }, (_, i) => Math.floor(i / step) % 8)
  const [across, tiles] = [columns / 16, (rows / 16) * (columns / 16)]
  const second = (at: number) =>
    tensor(
      Float32Array.from({ length: tiles }, (_, i) => at / 2 + (i % 5) / 64),
      [rows / 16, across],
    )
  const places = Uint32Array.from({ length: 2 * rows }, (_, i) => (i % 2 ? columns - 1 : 0))
  return {
    kind: 'sum',
    rounded: 'f16',
    terms: [
      {
        ...{ kind: 'bilevel', bits: 3, tile: { rows: 16, columns: 16 } },
        codes: tensor(fields(rows * columns, 1), [rows, columns], 'u8'),
        scaleCodes: tensor(fields(rows * across, 1), [rows, across], 'u8'),
        zeroCodes: tensor(fields(rows * across, 8), [rows, across], 'u8'),
        second: {
          scaleScale: second(0.125),
          scaleZero: second(-3),
          zeroScale: second(1),
          zeroZero: second(-2),
        },
      },
      {
        ...{ kind: 'sparse_rows', shape: [rows, columns], valueType: 'f16' },
        rowOffsets: Uint32Array.from({ length: rows + 1 }, (_, row) => 2 * row),
        columns: places,
        values: Float32Array.from(places, (column, i) => (column ? -1 : 1) * (i % 97) * 0.125),
      },
    ],
  } as const
}

test('SpQR: every value of every field is read as it was written, in order and permuted', () => {
  const [name, shape] = matrixOf(wide)
  const sum = everyField(shape)
  const order = Uint32Array.from({ length: shape[1] }, (_, i) => (i * 7 + 3) % shape[1])
  for (const [place, values] of [sum, { kind: 'permuted', values: sum, order } as StoredValues].entries()) {
    const target = join(folder, `fields-${place}`)
    const valued = new Map([[name, values]])
    write(wide, planSpqr(folderSource(wide), { choices: choicesOf(wide, valued) }), valued, target)
    reopened(target, ({ weights }) => {
      const expected = scope(() => numbers(decodeStored(values)))
      expect(new Set(expected).size).toBeGreaterThan(300)
      expect(differences(numbers(weights.load(name)), expected)).toBe(0)
      expect(describeStored(weights.stored!(name)!)).toEqual(describeStored(values))
    })
  }
})

test('what is put together in another way is refused, with what it needs', () => {
  const [name, shape] = matrixOf(wide)
  const source = folderSource(wide)
  const plan = (described: TensorChoice['described'], planner: typeof planSpqr) => () => {
    const choices = choicesOf(wide, new Map()).set(name, { described: described!, by: 'test' })
    return planner(source, { choices })
  }
  const sum = describeStored(everyField(shape))
  const tile = { rows: 1, columns: 8 }
  const codebook: PareWeight & { kind: 'codebook' } = {
    ...{ kind: 'codebook', shape: [...shape], bits: 8, books: 1, entries: 256, tile },
  }
  const aqlm: typeof planSpqr = (from, options) => planAqlm(from, { ...codebook, books: 2 }, options)
  expect(plan(codebook, planSpqr)).toThrow(OptionError)
  expect(plan(codebook, planSpqr)).toThrow(
    /up_proj.weight: an SpQR checkpoint needs codes of another kind, got codebook/,
  )
  expect(plan(sum, aqlm)).toThrow(/an AQLM checkpoint needs codes of another kind, got sum/)
  expect(plan(codebook, aqlm)).toThrow(/needs 2 codebooks of 8 bits over 1 x 8 weights in all layers/)
  // No method makes what was not asked for.
  expect(() => planSpqr(source, {})).toThrow(/an SpQR checkpoint stores codes that are there already/)
})
