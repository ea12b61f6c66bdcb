import { describe, expect, test } from 'vitest'
import { outputError } from '../nn/synthetic_layer.suite.ts'
import { bitsOfStored, type StoredSource, type StoredValues, storedSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { linear, matmul, randomStream, scope, type Tensor, tensor } from '../tensor/index.ts'
import { correlated, descend, gramOf, jacobiEigenvalues, lost, rootOf } from './eora.oracle.suite.ts'
import { type EoraOptions, eora } from './eora.ts'
import { type ErrorSpaceName, errorSpace, rememberedSpectrum } from './error_space.ts'
import { learnedFactors } from './learned_factors.ts'
import { lowRankError } from './low_rank_error.ts'

const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
/** B A of an error in a space, f64. */
const partOf = (error: Tensor, gram: Tensor, rank: number, space: ErrorSpaceName = 'eigen') => {
  const { left, right } = lowRankError(error, errorSpace(space, gram), rank)
  return matmul(left, right)
}
const nothing = (error: Tensor) => error.mul(0)
const distance = (a: Tensor, b: Tensor) => a.sub(b).norm().item() / b.norm().item()

describe('1. the closed form is optimal', () => {
  const { error, gram } = correlated({ seed: 3 })
  const part = partOf(error, gram, 4)
  const residual = lost(error, part, gram)

  test('what is left is the root of the squares of the singular values beyond the rank', () => {
    const squares = gramOf(matmul(error, rootOf(gram)).transpose())
    const values = jacobiEigenvalues(squares)
    const beyond = values.slice(4).reduce((sum, value) => sum + value, 0)
    expect(residual / Math.sqrt(beyond)).toBeCloseTo(1, 5)
  })
  test('no random matrix of the same rank does better, near it or far', () => {
    const random = randomStream(1, 'others')
    for (const size of [1e-4, 1e-2, 1]) {
      for (let i = 0; i < 20; i++) {
        const { left, right } = lowRankError(error, errorSpace('eigen', gram), 4)
        const moved = matmul(
          left.add(random.normal(left.shape, 'f64').mul(size)),
          right.add(random.normal(right.shape, 'f64').mul(size)),
        )
        expect(lost(error, moved, gram)).toBeGreaterThan(residual)
      }
    }
  })
  test('500 steps of Adam from it do not lower the loss by more than 1e-6', () => {
    expect(descend(error, gram, lowRankError(error, errorSpace('eigen', gram), 4), 500)).toBeGreaterThan(
      residual * (1 - 1e-6),
    )
  })
})

describe('2. on correlated inputs', () => {
  test('it loses less than svd and activation scaling, both less than nothing, and at least 20% less than svd', () => {
    for (const seed of [0, 1, 2, 3, 4]) {
      const { error, gram } = correlated({ seed })
      const [own, svd, activation, none] = [
        lost(error, partOf(error, gram, 4), gram),
        lost(error, partOf(error, gram, 4, 'svd'), gram),
        lost(error, partOf(error, gram, 4, 'activation'), gram),
        lost(error, nothing(error), gram),
      ]
      expect(own).toBeLessThan(Math.min(svd, activation))
      expect(Math.max(svd, activation)).toBeLessThan(none)
      expect(own).toBeLessThan(0.8 * svd)
    }
  })
})

describe('3. the spaces agree where they should', () => {
  const { error } = correlated({ seed: 5 })

  test('white inputs make it plain svd', () => {
    const white = tensor(identity(32), [32, 32], 'f64')
    expect(distance(partOf(error, white, 4), partOf(error, white, 4, 'svd'))).toBeLessThan(1e-6)
  })
  test('a diagonal Gram matrix makes it svd of the columns scaled by its roots', () => {
    const diagonal = tensor(
      identity(32).map((one, i) => one * (1 + ((i * 7) % 32))),
      [32, 32],
      'f64',
    )
    expect(distance(partOf(error, diagonal, 4), partOf(error, diagonal, 4, 'activation'))).toBeLessThan(1e-6)
  })
})

describe('4. the ends of the rank', () => {
  const layer = correlated({ seed: 6 })

  test('the whole rank gives the outputs back', () => {
    const part = partOf(layer.error, layer.gram, 32)
    expect(lost(layer.error, part, layer.gram)).toBeLessThan(
      1e-5 * lost(layer.error, nothing(layer.error), layer.gram),
    )
  })
  test('rank 0 leaves what was stored before as it is', () => {
    const { edit, before } = run(layer, { rank: 0 })
    expect((edit.source as StoredSource).values).toBe(before)
    expect(numbers(edit.decoded!)).toEqual(numbers(storedSource(before).dense()))
  })
})

test('5. a higher rank never loses more', () => {
  const { error, gram } = correlated({ seed: 7 })
  const losses = Array.from({ length: 32 }, (_, i) => lost(error, partOf(error, gram, i + 1), gram))
  for (const [i, loss] of losses.entries())
    if (i > 0) expect(loss).toBeLessThanOrEqual(losses[i - 1]! + 1e-12 * losses[0]!)
})

test('6. inputs of another size, or in another order, give the same part', () => {
  const { error, inputs } = correlated({ seed: 8 })
  const part = partOf(error, gramOf(inputs), 6)
  for (const factor of [1e-3, 37])
    expect(distance(partOf(error, gramOf(inputs.mul(factor)), 6), part)).toBeLessThan(1e-5)
  const order = randomStream(0, 'order').permutation(inputs.extent(0))
  expect(distance(partOf(error, gramOf(inputs.indexSelect(0, order)), 6), part)).toBeLessThan(1e-5)
})

describe('7. fewer tokens than inputs', () => {
  const { error, inputs } = correlated({ seed: 9, tokens: 10 })
  const gram = gramOf(inputs)

  test('give finite factors that are still optimal on these tokens', () => {
    const { left, right } = lowRankError(error, errorSpace('eigen', gram), 4)
    expect([...numbers(left), ...numbers(right)].every(Number.isFinite)).toBe(true)
    // Another way to the same bound: singular values of the output error itself.
    const values = jacobiEigenvalues(gramOf(matmul(inputs, error.transpose()).transpose()))
    const beyond = Math.sqrt(values.slice(4).reduce((sum, value) => sum + value, 0))
    expect(lost(error, matmul(left, right), gram) / beyond).toBeCloseTo(1, 5)
  })
  test('and a rank above their number leaves columns of zeros, and nothing of the output error', () => {
    const { left, right } = lowRankError(error, errorSpace('eigen', gram), 20)
    expect([left.shape, right.shape]).toEqual([
      [32, 20],
      [20, 32],
    ])
    expect(lost(error, matmul(left, right), gram)).toBeLessThan(1e-5 * lost(error, nothing(error), gram))
  })
  test('are told in the notes', () => {
    const { edit } = run({ ...correlated({ seed: 9, tokens: 10 }), rows: 10 }, { rank: 4 })
    expect(edit.diagnostics.notes).toEqual([
      '22 directions of the inputs are negligible',
      'only 10 tokens for 32 inputs',
    ])
  })
})

describe('8. what is stored', () => {
  const layer = correlated({ seed: 10 })
  const { error, gram } = layer

  test('the factored forward is the merged one', () => {
    const { edit } = run(layer, { rank: 6 })
    const { values } = edit.source as StoredSource
    if (values.kind !== 'sum' || values.terms[1]?.kind !== 'product') throw new Error('another kind')
    const [before, { left, right }] = [storedSource(values.terms[0]!), values.terms[1]]
    const x = layer.inputs.cast('f32')
    const [a, b] = [storedSource(right).dense(), storedSource(left).dense()]
    const factored = before.matmul(x).add(linear(linear(x, a), b))
    expect(distance(factored, edit.source.matmul(x))).toBeLessThan(1e-5)
    expect(numbers(edit.decoded!)).toEqual(numbers(edit.source.dense()))
  })
  test('factors in f16 cost 16 bits a number beside what was there', () => {
    const { edit, before } = run(layer, { rank: 6 })
    const own = bitsOfStored((edit.source as StoredSource).values) - bitsOfStored(before)
    expect(own).toBe(6 * (32 + 32) * 16)
  })
  test('rounded factors lose less with more bits, and f16 least; 4 bits take a code, a scale and a zero', () => {
    const losses = ([3, 4, 8, undefined] as const).map((factorBits) => {
      const { edit } = run(layer, { rank: 8, ...(factorBits && { factorBits }), factorGroupSize: 16 })
      return lost(layer.weight, edit.decoded!, gram)
    })
    expect(losses).toEqual([...losses].sort((a, b) => b - a))
    expect(losses[0]).toBeLessThan(lost(error, nothing(error), gram))
    const { edit, before } = run(layer, { rank: 8, factorBits: 4, factorGroupSize: 16 })
    // A has 8 rows of two groups, B 32 rows of one group of 8 columns.
    const own = bitsOfStored((edit.source as StoredSource).values) - bitsOfStored(before)
    expect(own).toBe(2 * 8 * 32 * 4 + (8 * 2 + 32) * (16 + 4))
  })
  test('factors rounded with their inputs in mind lose less than factors rounded to nearest', () => {
    const seeds = [10, 11, 12, 13, 14, 15]
    const sum = (factorRounding: 'gptq' | 'rtn') =>
      seeds
        .map((seed) => {
          const layer = correlated({ seed })
          const { edit } = run(layer, { rank: 8, factorBits: 3, factorRounding })
          return outputError(layer.weight, edit.decoded!, layer.gram)
        })
        .reduce((a, b) => a + b)
    expect(sum('gptq')).toBeLessThan(sum('rtn'))
  })
})

test('learned factors help, and the closed form loses less', () => {
  const { error, inputs, gram } = correlated({ seed: 12, condition: 100 })
  const samples = Array.from({ length: 10 }, (_, i) => inputs.slice(0, i * 40, i * 40 + 40))
  const { left, right } = learnedFactors(error, samples, { rank: 4, steps: 400 })
  const learned = lost(error, matmul(left, right), gram)
  expect(learned).toBeLessThan(0.95 * lost(error, nothing(error), gram))
  expect(lost(error, partOf(error, gram, 4), gram)).toBeLessThan(learned)
})

describe('difficult tasks', () => {
  const layer = correlated({ seed: 13 })

  test('without an earlier step it says where it belongs', () => {
    const task = {
      name: 'q',
      dense: layer.weight,
      current: layer.weight,
      statistics: { gram: layer.gram, rows: 9 },
    }
    expect(() => eora().compress(task)).toThrow(/^q: .*earlier step.*--then eora/)
  })
  test('without a Gram matrix it is refused by name', () => {
    const before: StoredValues = { kind: 'dense', numbers: layer.weight }
    const task = { name: 'q', dense: layer.weight, current: layer.weight, before, statistics: { rows: 9 } }
    expect(() => eora().compress(task)).toThrow(/^q: .*Gram matrix/)
  })
  test('inputs that are not finite stop it and name the weight', () => {
    const broken = numbers(layer.gram).with(33, Number.NaN)
    const gram = tensor(Float64Array.from(broken), [32, 32], 'f64')
    expect(() => run({ ...layer, gram })).toThrow(NumericalError)
    expect(() => run({ ...layer, gram })).toThrow(/^block\.0\/q: .*not finite/)
  })
  test('inputs that are all 0 leave the error as it was', () => {
    const { edit, before } = run({ ...layer, gram: layer.gram.mul(0) })
    expect(numbers(edit.decoded!)).toEqual(numbers(storedSource(before).dense()))
    expect(edit.diagnostics.notes).toEqual(['32 directions of the inputs are negligible'])
  })
  test('a rank above the smaller side is that side, with a note', () => {
    const { edit } = run(layer, { rank: 100 })
    expect(edit.diagnostics.notes).toEqual(['rank 32 is the most of 32 x 32 weights'])
  })
  test('options that cannot be are refused when the method is made', () => {
    const wrong = [
      { rank: -1 },
      { rank: 1.5 },
      { space: 'other' },
      { factorBits: 5 },
      { factorGroupSize: 0 },
      { factorRounding: 'x' },
    ]
    for (const options of wrong) expect(() => eora(options as EoraOptions)).toThrow(OptionError)
  })
  test('the spectrum is computed again exactly when the numbers change, also in the same memory', () => {
    let count = 0
    const decompose = rememberedSpectrum(() => {
      count++
      return { values: new Float64Array(0), vectors: new Float64Array(0) }
    })
    scope(() => {
      for (const gram of [layer.gram, layer.gram.add(0), layer.gram.mul(2), layer.gram.mul(2), layer.gram])
        decompose(gram)
    })
    expect(count).toBe(3)
  })
})

function run(
  layer: Pick<ReturnType<typeof correlated>, 'weight' | 'gram' | 'rounded'> & { rows?: number },
  options: EoraOptions = {},
) {
  const before = layer.rounded.values
  const edit = eora(options).compress({
    name: 'block.0/q',
    dense: layer.weight,
    current: storedSource(before).dense(),
    before,
    statistics: { gram: layer.gram, rows: layer.rows ?? 10_000 },
  })
  return { edit, before: before as StoredValues }
}

const identity = (n: number) => Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0))
