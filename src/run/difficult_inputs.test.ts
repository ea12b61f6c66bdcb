/** What every method makes of layers and models that are difficult, and what the report says of it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { LayerEdit, LayerTask } from '../calibrate/method.ts'
import { squaresOf } from '../calibrate/statistics.ts'
import { writeWideModel } from '../models/write/sources.suite.ts'
import { affineGrid } from '../nn/grid.ts'
import { syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import type { StoredSource } from '../nn/values/values.ts'
import { rtn } from '../quantize/rtn.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../tensor/index.ts'
import { compress } from './compress.ts'
import type { CompressOptions } from './compress_options.ts'
import { smallRun, writeText } from './small_run.suite.ts'
import type { FactoryOptions } from './step_method.ts'
import { stepMethod, type WeightMethodName, weightMethodNames } from './step_methods.ts'
import { changeTensor } from './verify/verified_results.suite.ts'

const mean = (all: readonly number[]) => all.reduce((sum, x) => sum + x, 0) / all.length
const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const inputs = 64
const grid = affineGrid({ bits: 3, groupSize: 32 })
/** Little work; what is left out is the default. */
const options: Partial<Record<WeightMethodName, FactoryOptions>> = {
  aqlm: { books: 2, bookBits: 4, rounds: 1, adamSteps: 3, kMeansRounds: 5 },
  eora: { rank: 4 },
}
const methodOf = (name: WeightMethodName, extra: FactoryOptions = {}) =>
  stepMethod(name).make({ ...options[name], ...extra })

/** A layer of 32 outputs whose inputs went through `change`, f64 [tokens, inputs]. */
function layer({
  tokens = 500,
  weights = (dense: Tensor) => dense,
  change = (x: Tensor) => x,
} = {}): Pick<LayerTask, 'dense' | 'current' | 'statistics'> {
  const { weight, inputs: x } = syntheticLayer({ seed: 3, rows: 32, columns: inputs, tokens })
  const changed = change(x)
  const gram = changed.transpose().matmul(changed)
  const dense = weights(weight.cast('f32'))
  return { dense, current: dense, statistics: { gram, squares: squaresOf(gram), rows: tokens } }
}

/** As the steps of a run hand it over. */
function compressed(name: WeightMethodName, of: ReturnType<typeof layer>, extra?: FactoryOptions): LayerEdit {
  const { kind } = stepMethod(name)
  const task = { name: 'block.0/q', ...of, ...(kind === 'quantizer' ? { grid } : {}) }
  if (kind !== 'repair') return methodOf(name, extra).compress(task)
  const { source, decoded } = rtn().compress({ ...task, grid })
  return methodOf(name, extra).compress({
    ...task,
    current: decoded!,
    before: (source as StoredSource).values,
  })
}

const decodedOf = ({ decoded, source }: LayerEdit) => numbers(decoded ?? source.dense())
const needs = (name: WeightMethodName) => stepMethod(name).needs
const withGram = weightMethodNames.filter((name) => needs(name).includes('gram'))
/** OmniQuant looks at outputs of blocks alone. */
const calibrated = weightMethodNames.filter((name) => needs(name).length > 0 && name !== 'omniquant')
/** EoRA sees directions, not inputs. */
const deadNote = (name: WeightMethodName) =>
  name === 'eora' ? /\d+ directions of the inputs are negligible/ : /5 inputs are always 0/
const zeroColumns = (count: number) => (x: Tensor) =>
  x.mul(
    tensor(
      Float64Array.from({ length: inputs }, (_, i) => (i < count ? 0 : 1)),
      [inputs],
      'f64',
    ),
  )

describe.each(weightMethodNames)('%s', (name) => {
  test('rows of one number each, of zeros too, are decoded to finite numbers near them', () => {
    const constants = [0, 0.25, -0.5, 0.125]
    const weights = (dense: Tensor) => {
      const all = dense.toArray() as Float32Array
      for (const [i, value] of constants.entries()) all.fill(value, (8 + i) * inputs, (9 + i) * inputs)
      return tensor(all, dense.shape as [number, number])
    }
    const found = scope(() => decodedOf(compressed(name, layer({ weights }))))
    expect(found.every(Number.isFinite)).toBe(true)
    for (const [i, value] of constants.entries()) {
      const row = found.slice((8 + i) * inputs, (9 + i) * inputs)
      // What is pruned is 0; a rotation of QuIP mixes the rows.
      const off = row.map((w) => (stepMethod(name).kind === 'pruner' && w === 0 ? 0 : Math.abs(w - value)))
      expect(mean(off), String(value)).toBeLessThan(name === 'quip' ? 0.3 : 0.12)
    }
  })
  test('inputs that are all 0 give finite numbers', () => {
    const found = scope(() => decodedOf(compressed(name, layer({ change: zeroColumns(inputs) }))))
    expect(found.every(Number.isFinite)).toBe(true)
  })
})
describe.each(calibrated)('%s', (name) => {
  test('says how many inputs are always 0', () => {
    const { diagnostics } = compressed(name, layer({ change: zeroColumns(5) }))
    expect(diagnostics.notes).toContainEqual(expect.stringMatching(deadNote(name)))
  })
  test.each([Number.NaN, Number.POSITIVE_INFINITY])('refuses an activation of %s', (bad) => {
    const change = (x: Tensor) => {
      const all = x.toArray() as Float64Array
      all[7] = bad
      return tensor(all, x.shape as [number, number], 'f64')
    }
    expect(() => compressed(name, layer({ change }))).toThrow(NumericalError)
  })
})
describe.each(withGram)('%s', (name) => {
  test('fewer tokens than inputs give finite numbers, and are told', () => {
    const edit = compressed(name, layer({ tokens: 20 }))
    expect(decodedOf(edit).every(Number.isFinite)).toBe(true)
    expect(edit.diagnostics.notes).toContain('only 20 tokens for 64 inputs')
  })
})

describe.each([
  ['gptq', 'groups of 20 leave a short one', { bits: 3, groupSize: 20 }],
  ['rtn', 'groups of 20 leave a short one', { bits: 3, groupSize: 20 }],
  ['obq', 'groups of 20 leave a short one', { bits: 3, groupSize: 20 }],
] as const)('a width that no group divides: %s', (name, title, { bits, groupSize }) => {
  test(title, () => {
    const task = { name: 'block.0/q', ...layer(), grid: affineGrid({ bits, groupSize }) }
    const edit = methodOf(name).compress(task)
    expect(decodedOf(edit).every(Number.isFinite)).toBe(true)
    // Four groups a row, each with a scale of 16 bits and a zero of 3.
    expect(edit.source.size().storedBits).toBe(32 * (3 * inputs + 4 * 19))
  })
})
test.each<[WeightMethodName, FactoryOptions]>([
  ['spqr', { groupSize: 24 }],
  ['aqlm', { tileColumns: 7 }],
  ['magnitude', { pattern: '2:5' }],
  ['wanda', { pattern: '2:5' }],
  ['sparsegpt', { pattern: '2:5' }],
  ['obs', { pattern: '2:5' }],
])('a width that no group divides is refused: %s', (name, extra) => {
  expect(() => compressed(name, layer(), extra)).toThrow(OptionError)
})

describe('a run on a model of which five channels of a norm are 0', () => {
  let folder: string
  let asked: (extra: Partial<CompressOptions>) => CompressOptions
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'difficult-test-'))
    const source = join(folder, 'source')
    writeWideModel(source)
    changeTensor('model.layers.0.input_layernorm.weight', (bytes, shape) => {
      bytes.fill(0, 0, (5 * bytes.length) / shape[0]!)
    })(source)
    const text = writeText(join(folder, 'text.txt'))
    let count = 0
    asked = (extra) => {
      const { bits: _, groupSize: __, ...rest } = smallRun(text, join(folder, `out-${++count}`))
      return { ...rest, source, target: 'pare', ...extra }
    }
  })
  afterAll(() => rmSync(folder, { recursive: true }))
  const own = (name: WeightMethodName): Partial<CompressOptions> => {
    const { kind } = stepMethod(name)
    const step = {
      method: name,
      ...options[name],
      ...(kind === 'quantizer' ? { bits: 3, groupSize: 8 } : {}),
    }
    return kind === 'repair'
      ? { steps: [{ method: 'rtn', bits: 3, groupSize: 8 }, step] }
      : { steps: [step as NonNullable<CompressOptions['steps']>[number]] }
  }

  test.each(calibrated)('%s: the report says it once for all weights that it holds for', async (name) => {
    const { notes, layers } = await compress(asked(own(name)))
    const found = notes.filter((note) => deadNote(name).test(note))
    expect(found).toEqual([expect.stringMatching(/^\d weights: /)])
    expect(layers.every(({ relativeError }) => Number.isFinite(relativeError))).toBe(true)
  })
  test.each(['awq', 'smoothquant'] as const)('%s before rounding says it too', async (method) => {
    const { notes } = await compress(asked({ steps: [{ method }, { method: 'rtn', bits: 3, groupSize: 8 }] }))
    expect(notes).toContainEqual(expect.stringMatching(/^[a-z]+: .*q_proj.*: 5 inputs are always 0/))
  })
  test.each(withGram)('%s: so it does of a text with fewer tokens than inputs', async (name) => {
    const { notes } = await compress(asked({ ...own(name), samples: 1, length: 8 }))
    expect(notes).toContainEqual(expect.stringMatching(/^\d+ weights: only 8 tokens for \d+ inputs/))
  })
  test.each([{ method: 'hadamard' }, { method: 'omniquant' }] as const)(
    '$method goes on',
    async ({ method }) => {
      const rounded = { method: 'rtn', bits: 3, groupSize: 8 } as const
      const steps =
        method === 'hadamard' ? [{ method }, rounded] : [{ method, bits: 3, groupSize: 8, epochs: 1 }]
      const { layers } = await compress(asked({ steps: steps as NonNullable<CompressOptions['steps']> }))
      expect(layers.every(({ relativeError }) => Number.isFinite(relativeError))).toBe(true)
    },
  )
})
