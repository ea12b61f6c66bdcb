import { describe, expect, test } from 'vitest'
import type { LayerTask } from '../calibrate/method.ts'
import { outputError, type SyntheticLayer, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { matmul, type Tensor, tensor } from '../tensor/index.ts'
import { setThreads, threads } from '../tensor/native.ts'
import { type ExactObsOptions, exactObs, exactObsKept } from './exact_obs.ts'
import { columnBlocks } from './obs_pattern.ts'
import { maskOf, type Pattern } from './pattern.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
const taskOf = ({ weight, gram, inputs }: SyntheticLayer, more: Partial<LayerTask> = {}): LayerTask => ({
  name: 'block.0/q',
  dense: weight,
  current: weight,
  statistics: { gram, rows: inputs.extent(0) },
  ...more,
})
const run = (layer: SyntheticLayer, options: ExactObsOptions, more: Partial<LayerTask> = {}) =>
  exactObs({ numbers: 'f32', ...options }).compress(taskOf(layer, more))
const errorOf = (layer: SyntheticLayer, options: ExactObsOptions) =>
  outputError(layer.weight, run(layer, options).decoded!, layer.gram)

/** The largest magnitudes, as they are. */
function magnitude(
  { weight }: SyntheticLayer,
  sparsity: number,
  pattern?: Pattern,
): { kept: Uint8Array; result: Tensor } {
  const values = Float64Array.from(numbers(weight))
  const kept = maskOf({ values: values.map(Math.abs), shape: weight.shape }, sparsity, pattern)
  return {
    kept,
    result: tensor(
      values.map((x, i) => (kept[i] ? x : 0)),
      weight.shape,
      'f64',
    ),
  }
}

/** The least-squares fit of each row on what its mask keeps. */
function refit({ weight, gram }: SyntheticLayer, kept: Uint8Array): Tensor {
  const [rows, columns] = weight.shape as [number, number]
  const [g, target] = [numbers(gram), numbers(matmul(weight, gram))]
  const result = new Float64Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    const places = Array.from({ length: columns }, (_, i) => i).filter((i) => kept[row * columns + i])
    const lines = places.map((p) => [...places.map((q) => g[p * columns + q]!), target[row * columns + p]!])
    for (const [i, line] of lines.entries())
      for (const [k, other] of lines.entries()) {
        const factor = k === i ? 0 : other[i]! / line[i]!
        if (factor !== 0) for (let j = i; j < other.length; j++) other[j]! -= factor * line[j]!
      }
    for (const [i, p] of places.entries()) result[row * columns + p] = lines[i]!.at(-1)! / lines[i]![i]!
  }
  return tensor(result, weight.shape, 'f64')
}

describe('the checks of the paper', () => {
  // A layer of 32 outputs and 48 inputs that are correlated, from 1000 tokens.
  const layer = syntheticLayer({ seed: 1, rows: 32, columns: 48, tokens: 1000 })

  test.each([0.5, 0.75])(
    'at sparsity %f the error is at most half of magnitude pruning, below that of its refit, and the heap is no worse than rows alike',
    (sparsity) => {
      const { kept, result } = magnitude(layer, sparsity)
      const found = errorOf(layer, { sparsity })
      expect(found).toBeLessThanOrEqual(0.5 * outputError(layer.weight, result, layer.gram))
      expect(found).toBeLessThan(outputError(layer.weight, refit(layer, kept), layer.gram))
      expect(found).toBeLessThanOrEqual(errorOf(layer, { sparsity, selection: 'row' }))
      expect(run(layer, { sparsity }).mask!.filter((bit) => bit === 0)).toHaveLength(32 * 48 * sparsity)
    },
  )
  test.each([
    [2, 4],
    [4, 8],
    [1, 3],
  ])('%i:%i leaves exactly as many zeros in every group, at most half of the error of magnitude', (n, m) => {
    const pattern: Pattern = { kind: 'n:m', n, m }
    const { mask, decoded } = run(layer, { pattern })
    const values = numbers(decoded!)
    for (let group = 0; group < mask!.length; group += m) {
      expect(mask!.slice(group, group + m).filter((bit) => bit === 0)).toHaveLength(m - n)
      expect(values.slice(group, group + m).filter((x) => x === 0)).toHaveLength(m - n)
    }
    const { result } = magnitude(layer, 1 - n / m, pattern)
    expect(errorOf(layer, { pattern })).toBeLessThanOrEqual(
      0.5 * outputError(layer.weight, result, layer.gram),
    )
  })
  test('a diagonal Hessian removes by w^2 times its entry, and moves no weight', () => {
    const energy = Float64Array.from({ length: 48 }, (_, i) => 1 + ((i * 37) % 48))
    const gram = tensor(
      Float64Array.from({ length: 48 * 48 }, (_, i) => (i % 49 === 0 ? energy[i % 48]! : 0)),
      [48, 48],
      'f64',
    )
    for (const options of [{ sparsity: 0.6 }, { pattern: { kind: 'n:m', n: 2, m: 4 } as const }]) {
      const { decoded, mask } = run({ ...layer, gram }, options)
      const weight = numbers(layer.weight)
      const scores = { values: Float64Array.from(weight, (w, i) => w * w * energy[i % 48]!), shape: [32, 48] }
      const want = maskOf(scores, 0.6, 'pattern' in options ? options.pattern : undefined)
      // ceil(1536 * 0.6) = 922 go, as 1536 - round(614.4) do.
      expect([...mask!]).toEqual([...want])
      for (const [i, x] of numbers(decoded!).entries()) expect(x).toBe(want[i] ? Math.fround(weight[i]!) : 0)
    }
  })
  test('at sparsity 0 the layer has its bits, at 1 it is 0', () => {
    const single = { ...layer, weight: layer.weight.cast('f32') }
    expect(run(single, { sparsity: 0 }).decoded!.bytes()).toEqual(single.weight.bytes())
    const { decoded, mask } = run(layer, { sparsity: 1 })
    expect(numbers(decoded!).every((x) => x === 0) && mask!.every((bit) => bit === 0)).toBe(true)
  })
})

describe('blocks', () => {
  const layer = syntheticLayer({ seed: 2, rows: 16, columns: 42, tokens: 800 })
  test('of 4 columns go whole, the narrow last one too, at less error than by magnitude', () => {
    const pattern = columnBlocks()
    const { mask, decoded } = run(layer, { sparsity: 0.5, pattern })
    const values = numbers(decoded!)
    let gone = 0
    for (let row = 0; row < 16; row++)
      for (let start = 0; start < 42; start += 4) {
        const unit = mask!.slice(row * 42 + start, row * 42 + Math.min(start + 4, 42))
        expect(new Set(unit).size).toBe(1)
        gone += unit[0] === 0 ? 1 : 0
        for (const [i, bit] of unit.entries()) if (!bit) expect(values[row * 42 + start + i]).toBe(0)
      }
    expect(gone).toBe(Math.ceil((16 * 11) / 2))
    const { result } = magnitude(layer, 0.5, pattern)
    expect(errorOf(layer, { pattern })).toBeLessThan(0.5 * outputError(layer.weight, result, layer.gram))
  })
})

describe('results', () => {
  const layer = syntheticLayer({ seed: 3, rows: 24, columns: 40, tokens: 600 })
  const single = { ...layer, weight: layer.weight.cast('f32') }

  test('what is stored decodes to what is handed on, and takes a bit a place and the bits of its numbers a living weight', () => {
    const cases: [ExactObsOptions, bits: number][] = [
      [{ numbers: 'f16' }, 16],
      [{ sparsity: 0, numbers: 'f16' }, 16],
      [{ pattern: { kind: 'n:m', n: 2, m: 4 }, numbers: 'bf16' }, 16],
      [{ pattern: columnBlocks(5) }, 32],
      [{ sparsity: 0.8, selection: 'row' }, 32],
      [{ sparsity: 1 }, 32],
    ]
    for (const [options, bits] of cases) {
      const { source, decoded, mask } = run(single, options)
      expect(source.dense().bytes()).toEqual(decoded!.bytes())
      const living = mask!.filter((bit) => bit === 1).length
      expect(living).toBe(exactObsKept([24, 40], options))
      expect(source.size().storedBits).toBe(960 + bits * living)
      expect(numbers(decoded!).filter((x, i) => x !== 0 && !mask![i])).toEqual([])
    }
    // Where the last block is narrower, the data decide how many weights live.
    expect(exactObsKept([24, 42], { pattern: columnBlocks(5) })).toBeUndefined()
  })
  test('living weights that f16 cannot hold stop it and name the way out', () => {
    const weight = single.weight.mul(1e6)
    expect(() => run({ ...single, weight }, { numbers: 'f16' })).toThrow(
      /too large for f16; store the numbers as bf16 or f32/,
    )
    expect(numbers(run({ ...single, weight }, { numbers: 'bf16' }).decoded!).every(Number.isFinite)).toBe(
      true,
    )
  })
  test('the scale of the inputs and the number of threads change nothing', () => {
    const want = numbers(run(single, { sparsity: 0.7 }).decoded!)
    // A power of 2 is exact.
    expect(numbers(run({ ...single, gram: layer.gram.mul(2 ** -30) }, { sparsity: 0.7 }).decoded!)).toEqual(
      want,
    )
    const before = threads()
    for (const count of [1, 3]) {
      setThreads(count)
      try {
        expect(numbers(run(single, { sparsity: 0.7 }).decoded!)).toEqual(want)
      } finally {
        setThreads(before)
      }
    }
  })
  test('weights that an earlier step pruned stay 0 and count as zeros', () => {
    const first = run(layer, { sparsity: 0.3 })
    const again = run(layer, { sparsity: 0.6 }, { current: first.decoded!, mask: first.mask })
    expect(again.mask!.filter((bit) => bit === 0)).toHaveLength(Math.ceil(960 * 0.6))
    for (const [i, bit] of first.mask!.entries()) if (!bit) expect(again.mask![i]).toBe(0)
    // One run to the same sparsity may give up other weights, but hardly a better choice.
    const direct = errorOf(layer, { sparsity: 0.6 })
    expect(outputError(layer.weight, again.decoded!, layer.gram)).toBeLessThan(1.1 * direct)
    const less = run(layer, { sparsity: 0.1 }, { current: first.decoded!, mask: first.mask })
    expect([...less.mask!]).toEqual([...first.mask!])
  })
})

test('n of n keeps everything but what was pruned before', () => {
  const layer = syntheticLayer({ seed: 9, rows: 3, columns: 8, tokens: 100 })
  const pattern: Pattern = { kind: 'n:m', n: 4, m: 4 }
  expect(numbers(run(layer, { pattern }).decoded!)).toEqual(numbers(layer.weight.cast('f32')))
  const mask = Uint8Array.from({ length: 24 }, (_, i) => Number(i % 3 > 0))
  const current = tensor(
    Float64Array.from(numbers(layer.weight), (x, i) => (mask[i] ? x : 0)),
    [3, 8],
    'f64',
  )
  const edit = run(layer, { pattern }, { current, mask })
  expect([numbers(edit.decoded!), [...edit.mask!]]).toEqual([numbers(current.cast('f32')), [...mask]])
})
