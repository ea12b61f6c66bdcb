import { describe, expect, test } from 'vitest'
import { beamSearch, decodeAdditive, randomVisits } from '../nn/additive_codebooks.ts'
import { outputError, syntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { type CodebookValues, decodeCodebooks } from '../nn/values/codebook.ts'
import { bitsOfStored, type StoredSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { randomStream, scope, setThreads, type Tensor, tensor, threads } from '../tensor/index.ts'
import { type AqlmOptions, additiveCodebooks, aqlm, kMeansStart } from './aqlm.ts'
import { aqlmSettings } from './aqlm_options.ts'
import { CodebookDescent } from './codebook_steps.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
/** Covariance of the inputs falls as k^-1.5. */
const layer = syntheticLayer({ seed: 1, decay: 0.75 })
const hessian = layer.gram.mul(1 / 2000)
const small = { books: 2, bookBits: 6, tileColumns: 8 }

/** L of a result over |W X|^2 per output and token. */
const relative = (loss: number) =>
  (loss * 64 * 2000) / outputError(layer.weight, layer.weight.mul(0), layer.gram)

function run(
  { weight, gram }: { weight: Tensor; gram: Tensor },
  options: AqlmOptions = {},
  { rows = 2000, mask }: { rows?: number; mask?: Uint8Array } = {},
) {
  const edit = aqlm({ ...small, ...options }).compress({
    name: 'block.0/q',
    dense: weight,
    current: weight,
    statistics: { gram, rows },
    ...(mask && { mask }),
  })
  const values = (edit.source as StoredSource).values as CodebookValues
  return { edit, values, loss: outputError(weight, edit.decoded!, gram) }
}

describe('5. inputs whose directions differ in size', () => {
  const settings = aqlmSettings({ ...small, rounds: 4, tolerance: 0 })

  test('one pass of the search leaves at most 0.6 of the loss of residual k-means', () => {
    scope(() => {
      const start = kMeansStart(layer.weight, settings, randomStream(0, 'start'))
      const descent = new CodebookDescent(layer.weight, hessian, start)
      const visits = randomVisits(randomStream(0, 'visits'), 8, 2)
      const before = descent.loss(start.codes)
      const after = descent.loss(beamSearch(layer.weight, hessian, start, { visits, beam: 1 }).codes)
      descent.dispose()
      expect(after).toBeLessThan(0.6 * before)
    })
  })
  test('four rounds leave at most 0.3, and no round makes it worse', () => {
    const { losses } = additiveCodebooks(layer.weight, hessian, settings, randomStream(0, 'rounds'))
    expect(losses).toHaveLength(6)
    expect(losses[4]!).toBeLessThan(0.3 * losses[0]!)
    for (let i = 1; i < 5; i++) expect(losses[i]!).toBeLessThan(losses[i - 1]!)
    // Of what is stored: f16 costs next to nothing, since the codes are searched once more.
    expect(losses[5]!).toBeLessThan(1.01 * losses[4]!)
    expect(relative(losses[5]!)).toBeLessThan(0.05)
  })
  test('more hypotheses and more books lose less', () => {
    const loss = (options: AqlmOptions) => run(layer, { rounds: 2, ...options }).loss
    const one = loss({})
    expect(loss({ beam: 8 })).toBeLessThan(one)
    expect(loss({ books: 3 })).toBeLessThan(0.5 * one)
  })
})

describe('6. descent with codes fixed', () => {
  const start = kMeansStart(layer.weight, aqlmSettings(small), randomStream(0, 'start'))

  test('lowers the loss from any codes', () => {
    const descent = new CodebookDescent(layer.weight, hessian, start)
    const losses = Array.from({ length: 5 }, () => {
      const loss = descent.loss(start.codes)
      for (let i = 0; i < 20; i++) descent.step(start.codes, 1e-4)
      return loss
    })
    descent.dispose()
    for (let i = 1; i < 5; i++) expect(losses[i]!).toBeLessThan(losses[i - 1]!)
  })
  test('its first step goes against the sign of the differences of the loss, by 1e-4 in each number', () => {
    const descent = new CodebookDescent(layer.weight, hessian, start)
    descent.step(start.codes, 1e-4)
    const { codebooks, scales } = descent.with(start.codes)
    const lossAt = (parts: { codebooks: Tensor; scales: Tensor }) => {
      const other = new CodebookDescent(layer.weight, hessian, parts)
      const loss = other.loss(start.codes)
      other.dispose()
      return loss
    }
    for (const [name, moved, from] of [
      ['codebooks', codebooks, start.codebooks],
      ['scales', scales, start.scales],
    ] as const) {
      const values = numbers(from)
      for (let at = 0; at < values.length; at += Math.ceil(values.length / 20)) {
        const shifted = (by: number) =>
          lossAt({
            ...start,
            [name]: tensor(Float64Array.from(values.with(at, values[at]! + by)), from.shape, 'f64'),
          })
        const slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5
        // The gradient over its own size is its sign, but for epsilon beside gradients near 1e-8.
        if (Math.abs(slope) > 1e-5)
          expect(numbers(moved)[at]! - values[at]!).toBeCloseTo(-1e-4 * Math.sign(slope), 6)
      }
    }
    descent.dispose()
  })
})

describe('what is stored', () => {
  test('decodes to what the method says, number by number, from numbers that f16 holds', () => {
    const { edit, values } = run(layer, { rounds: 1 })
    expect(numbers(edit.decoded!)).toEqual(numbers(decodeCodebooks(values)))
    for (const x of [values.codebooks, values.scales])
      expect(numbers(x)).toEqual(numbers(x.cast('f16').cast('f32')))
    // 512 tiles of 2 codes of 6 bits, 2 books of 64 vectors, 64 scales.
    expect(bitsOfStored(values)).toBe(512 * 2 * 6 + (2 * 64 * 8 + 64) * 16)
  })
  test('9. with an entry for every tile nothing is lost but the rounding', () => {
    const few = syntheticLayer({ seed: 2, rows: 16, columns: 32 })
    const { edit } = run(few, { books: 1, bookBits: 6, rounds: 0 })
    const error = edit.decoded!.cast('f64').sub(few.weight).abs()
    // An entry and a scale in f16, and their product in f32.
    const bound = few.weight
      .abs()
      .mul(2 ** -10)
      .add(2 ** -24)
    expect(error.lessEqual(bound).all().item()).toBe(1)
  })
  test('tiles of two rows share a scale', () => {
    const { values, edit } = run(layer, { tileRows: 2, tileColumns: 4, rounds: 1 })
    expect([values.codes.shape, values.codebooks.shape, values.scales.shape]).toEqual([
      [32, 16, 2],
      [2, 64, 2, 4],
      [32],
    ])
    expect(edit.decoded!.shape).toEqual([64, 64])
  })
  test('the same seed gives the same codes for every number of threads, another seed others', () => {
    const before = threads()
    try {
      const codes = (count: number, seed: number) => {
        setThreads(count)
        return numbers(run(layer, { rounds: 1, adamSteps: 5, seed }).values.codes)
      }
      const first = codes(1, 0)
      expect(codes(2, 0)).toEqual(first)
      expect(codes(3, 0)).toEqual(first)
      expect(codes(1, 1)).not.toEqual(first)
    } finally {
      setThreads(before)
    }
  })
  test('f32 loses as little as f64', () => {
    const narrow = run({ weight: layer.weight.cast('f32'), gram: layer.gram }, { rounds: 2 })
    expect(narrow.loss / run(layer, { rounds: 2 }).loss).toBeCloseTo(1, 0)
  })
})

describe('difficult tasks', () => {
  const none = { rounds: 0, kMeansRounds: 1 }

  test('inputs that are always 0, few tokens and pruned weights are told', () => {
    const gram = numbers(layer.gram)
    for (let i = 0; i < 64; i++) for (const dead of [2, 9]) gram[i * 64 + dead] = gram[dead * 64 + i] = 0
    const broken = { ...layer, gram: tensor(Float64Array.from(gram), [64, 64], 'f64') }
    const { edit } = run(broken, none, { rows: 10, mask: new Uint8Array(64 * 64) })
    expect(edit.diagnostics.notes).toEqual([
      '2 inputs are always 0',
      'only 10 tokens for 64 inputs',
      'weights that were pruned get values again',
    ])
    expect(edit.mask).toBeUndefined()
  })
  test('a row of zeros stays one', () => {
    const kept = tensor(
      Float64Array.from({ length: 64 }, (_, i) => (i === 5 ? 0 : 1)),
      [64, 1],
      'f64',
    )
    const { edit } = run({ ...layer, weight: layer.weight.mul(kept) }, none)
    expect(
      numbers(edit.decoded!)
        .slice(5 * 64, 6 * 64)
        .every((x) => x === 0),
    ).toBe(true)
  })
  test('a singular Gram matrix needs no help', () => {
    const ones = tensor(new Float64Array(64 * 64).fill(3), [64, 64], 'f64')
    const { edit } = run({ ...layer, gram: ones }, { ...none, rounds: 1, adamSteps: 3 })
    expect(edit.decoded!.isFinite().all().item()).toBe(1)
    expect(edit.diagnostics.notes).toEqual([])
  })
  test('weights and inputs that are not finite stop it and name the weight', () => {
    const broken = (x: Tensor) => tensor(Float64Array.from(numbers(x).with(7, Number.NaN)), x.shape, 'f64')
    for (const given of [
      { ...layer, gram: broken(layer.gram) },
      { ...layer, weight: broken(layer.weight) },
    ]) {
      expect(() => run(given, none)).toThrow(NumericalError)
      expect(() => run(given, none)).toThrow(/^block\.0\/q: .*not finite/)
    }
  })
  test('rows whose length f16 cannot hold are refused by name', () => {
    expect(() => run({ ...layer, weight: layer.weight.mul(1e6) }, none)).toThrow(/^block\.0\/q: rows .* f16/)
  })
  test('tiles that do not divide a weight are refused by name, with what is possible', () => {
    expect(() => run(layer, { ...none, tileColumns: 7 })).toThrow(
      /^block\.0\/q: tiles of 1 x 7 must divide 64 x 64 weights/,
    )
    expect(() => run(layer, { ...none, tileRows: 3 })).toThrow(OptionError)
  })
  test('a task without a Gram matrix is refused by name', () => {
    const task = { name: 'q', dense: layer.weight, current: layer.weight, statistics: { rows: 0 } }
    expect(() => aqlm().compress(task)).toThrow(/^q: .*Gram matrix/)
  })
  test('the weight and the Gram matrix are left as they were', () => {
    const before = [numbers(layer.weight), numbers(layer.gram)]
    run(layer, { rounds: 1, adamSteps: 2 })
    expect([numbers(layer.weight), numbers(layer.gram)]).toEqual(before)
  })
  test('options that cannot be are refused when the method is made', () => {
    for (const options of [
      { books: 0 },
      { bookBits: 17 },
      { tileColumns: 1.5 },
      { tileRows: 0 },
      { beam: 0 },
      { rounds: -1 },
      { tolerance: 2 },
      { adamSteps: -1 },
      { learningRate: 0 },
      { kMeansRounds: 0 },
      { seed: 0.5 },
    ])
      expect(() => aqlm(options)).toThrow(OptionError)
  })
})

test('1. decoding is the sum of the entries times the scale, in f32', () => {
  const { values } = run(layer, { rounds: 0, kMeansRounds: 2 })
  const { codes, codebooks, scales } = values
  expect(numbers(decodeAdditive({ codes, codebooks, scales }))).toEqual(numbers(decodeCodebooks(values)))
})
