/** Gradients that are kernels of their own: against central differences, and against the same written in single steps. */
import { expect } from 'vitest'
import { type Claim, computing, exactTensor, expectNear, valuesOf } from '../contract/claims.suite.ts'
import * as pare from '../index.ts'
import { randomStream, type Shape, type Tensor, tensor, valueAndGrad, vjp, zeros } from '../index.ts'
import { gradientCheck, inputsOf } from './gradient_check.suite.ts'

type Body = (...inputs: Tensor[]) => Tensor

const ignored = 4294967295
const labels = () => tensor([2, 0, ignored, 4, 1, 1], [2, 3], 'u32')
const table = (f: (x: number) => number) =>
  tensor(
    Array.from({ length: 15 }, (_, i) => f(0.37 * i)),
    [5, 3],
    'f64',
  )
const [cosines, sines] = [() => table(Math.cos), () => table(Math.sin)]

const attentionShapes = (keys: number, dim = 3, valueDim = dim): Shape[] => [
  [2, 4, 3, dim],
  [2, 2, keys, dim],
  [2, 2, keys, valueDim],
]

const cases: Record<string, readonly [body: Body, shapes: readonly Shape[]]> = {
  softmax: [(x) => pare.softmax(x!, 1), [[2, 5, 3]]],
  logSoftmax: [(x) => pare.logSoftmax(x!), [[3, 17]]],
  rmsNorm: [(x, w) => pare.rmsNorm(x!, w!, 1e-3), [[2, 3, 7], [7]]],
  'rmsNorm without a weight': [(x) => pare.rmsNorm(x!.transpose(), undefined, 1e-3), [[5, 3]]],
  layerNorm: [(x, w, b) => pare.layerNorm(x!, w!, b!, 1e-3), [[2, 3, 7], [7], [7]]],
  'layerNorm without a bias': [(x, w) => pare.layerNorm(x!, w!, undefined, 1e-3), [[3, 19], [19]]],
  'layerNorm alone': [(x) => pare.layerNorm(x!, undefined, undefined, 1e-3), [[3, 19]]],
  swiglu: [(a, b) => pare.swiglu(a!, b!), [[3, 5], [5]]],
  'swiglu of the halves of one product': [
    (x) => pare.swiglu(x!.slice(1, 0, 5), x!.slice(1, 5, 10)),
    [[3, 10]],
  ],
  rotary: [(x) => pare.rotary(x!, cosines(), sines()), [[2, 5, 7]]],
  'rotary of neighbours': [(x) => pare.rotary(x!, cosines(), sines(), { interleaved: true }), [[2, 5, 7]]],
  'cross-entropy of labels': [(x) => pare.crossEntropy(x!, labels(), { ignored }), [[2, 3, 5]]],
  'cross-entropy of each row, smoothed': [
    (x) => pare.crossEntropy(x!, labels(), { ignored, smoothing: 0.1, reduction: 'none' }),
    [[2, 3, 5]],
  ],
  'cross-entropy of distributions': [
    (x, t) => pare.crossEntropy(x!, t!, { smoothing: 0.2, reduction: 'sum' }),
    [
      [3, 5],
      [3, 5],
    ],
  ],
  attention: [(q, k, v) => pare.attention(q!, k!, v!), attentionShapes(5, 3, 2)],
  'causal attention': [(q, k, v) => pare.attention(q!, k!, v!, { causal: true }), attentionShapes(5)],
  'attention with a bias for all heads': [
    (q, k, v, b) => pare.attention(q!, k!, v!, { bias: b!, scale: 0.3 }),
    [...attentionShapes(5), [2, 1, 3, 5]],
  ],
  'attention of tokens by head': [
    (q, k) => {
      const [query, key] = [q!, k!].map((x) => x.transpose(1, 2)) as [Tensor, Tensor]
      return pare.attention(query, key, key, { causal: true }).transpose(1, 2).reshape([2, 3, 8])
    },
    [
      [2, 3, 4, 2],
      [2, 4, 2, 2],
    ],
  ],
  dropout: [(x) => pare.dropout(x!.transpose(), 0.4, randomStream(3, 'dropout')), [[7, 3]]],
  dropPath: [(x) => pare.dropPath(x!, 0.4, randomStream(3, 'path')), [[7, 3]]],
  'a table whose rows are read often': [
    (x) => pare.embedding(x!, tensor([3, 0, 3, 3, 1, 0], [2, 3], 'u32')).square(),
    [[5, 4]],
  ],
}

/** Gradients of a weighted sum of the result. */
function gradientsOf(body: Body, inputs: readonly Tensor[]): readonly Tensor[] {
  const { value, pull } = vjp(() => body(...inputs), inputs)
  return pull([[value, exactTensor(value.shape, value.dtype, 9)]])
}

/** Softmax attention in single operations, whose gradients are composed. */
const composed =
  (options: pare.AttentionOptions): Body =>
  (q, k, v, bias) =>
    pare.explicitAttention(q!, k!, v!, { ...options, bias })
const fused =
  (options: pare.AttentionOptions): Body =>
  (q, k, v, bias) =>
    pare.attention(q!, k!, v!, { ...options, bias })

export function fusedGradientClaims(claim: Claim): void {
  for (const [name, [body, shapes]] of Object.entries(cases))
    claim(`the gradient of ${name} is that of differences`, () => gradientCheck(body, inputsOf(...shapes)))

  for (const causal of [false, true]) {
    claim(`fused ${causal ? 'causal ' : ''}attention has the gradients of the composed one`, () => {
      // Across blocks of queries and keys, and with dims beside every tile.
      for (const [queries, keys, dim, valueDim] of [
        [1, 1, 1, 1],
        [71, 145, 5, 19],
        [9, 40, 17, 3],
      ] as const) {
        const shapes: Shape[] = [
          [1, 2, queries, dim],
          [1, 1, keys, dim],
          [1, 1, keys, valueDim],
          [1, 2, queries, keys],
        ]
        const inputs = inputsOf(...shapes)
        const want = gradientsOf(composed({ causal, scale: 0.3 }), inputs)
        // A sum of as many terms of size 1 as there are queries and keys.
        for (const [i, found] of gradientsOf(fused({ causal, scale: 0.3 }), inputs).entries())
          expectNear(found, valuesOf(want[i]!), { units: 8 * (queries + keys + dim), scale: 1 })
      }
    })
  }
  claim('what a bias of minus infinity hides gets no gradient', () => {
    const [q, k, v] = inputsOf(...attentionShapes(5)) as [Tensor, Tensor, Tensor]
    const bias = tensor([0, 0, 0, -Infinity, -Infinity], [5], 'f64')
    const [, dk, dv] = gradientsOf((q, k, v) => pare.attention(q!, k!, v!, { bias }), [q, k, v])
    const few = gradientsOf(fused({}), [q, k.slice(2, 0, 3).contiguous(), v.slice(2, 0, 3).contiguous()])
    expectNear(dk!.slice(2, 0, 3), valuesOf(few[1]!), { units: 64, scale: 1 })
    expectNear(dv!.slice(2, 0, 3), valuesOf(few[2]!), { units: 64, scale: 1 })
    for (const x of [dk!, dv!]) expect(valuesOf(x.slice(2, 3, 5)).every((g) => g === 0)).toBe(true)
  })
  for (const dtype of computing)
    claim(`${dtype}: attention has the same bits with a tape as without`, () => {
      const inputs = attentionShapes(5).map((shape, i) => exactTensor(shape, dtype, i))
      const run = () => fused({ causal: true })(...inputs)
      const recorded = vjp(run, inputs)
      recorded.dispose()
      expect(recorded.value.bytes()).toEqual(run().bytes())
    })
  claim('softmax cross-entropy is the negative logarithm of softmax at the label', () => {
    const x = inputsOf([2, 3, 5])[0]!
    const want = valuesOf(x.logSoftmax())
    const losses = valuesOf(pare.crossEntropy(x, labels(), { ignored, reduction: 'none' }))
    const flat = [...labels().toArray()].map(Number)
    const expected = flat.map((label, row) => (label === ignored ? 0 : -want[5 * row + label]!))
    for (const [row, loss] of losses.entries()) expect(loss).toBeCloseTo(expected[row]!, 13)
    const total = expected.reduce((a, b) => a + b, 0)
    expect(pare.crossEntropy(x, labels(), { ignored, reduction: 'sum' }).item()).toBeCloseTo(total, 13)
    expect(pare.crossEntropy(x, labels(), { ignored }).item()).toBeCloseTo(total / 5, 13)
  })
  claim('a label as a distribution of one 1 has the same loss, smoothed or not', () => {
    const x = inputsOf([3, 4])[0]!
    const hard = tensor([1, 3, 0], [3], 'u32')
    const soft = tensor([0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0], [3, 4], 'f64')
    for (const smoothing of [0, 0.3]) {
      const found = pare.crossEntropy(x, soft, { smoothing, reduction: 'none' })
      const want = pare.crossEntropy(x, hard, { smoothing, reduction: 'none' })
      expectNear(found, valuesOf(want), { units: 16, scale: 4 })
    }
  })
  claim('cross-entropy of logits in bf16 is f32 and its gradient bf16', () => {
    const x = exactTensor([3, 4], 'bf16')
    const { value, gradients } = valueAndGrad(
      ([x]) => pare.crossEntropy(x, tensor([0, 1, 2], [3], 'u32')),
      [x],
    )
    expect([value.dtype, gradients[0].dtype]).toEqual(['f32', 'bf16'])
  })
  claim('cross-entropy keeps one number a row beside the logits', () => {
    const x = exactTensor([6, 100])
    const label = tensor([0, 1, 2, 3, 4, 5], [6], 'u32')
    const { savedBytes } = valueAndGrad(([x]) => pare.crossEntropy(x, label, { reduction: 'sum' }), [x])
    expect(savedBytes).toBe(6 * 4 + 6 * 4) // a logarithm and a label each; the logits are a parameter
  })
  claim('a wrong label, an empty mean and targets that do not fit are refused', () => {
    const x = zeros([2, 3, 5])
    const wrong = tensor([0, 1, 2, 3, 5, 4], [2, 3], 'u32')
    expect(() => pare.crossEntropy(x, wrong)).toThrow(/label 5 of row 4 is outside of 5 classes/)
    expect(() => pare.crossEntropy(x, wrong, { ignored: 5, reduction: 'sum' })).not.toThrow()
    const none = tensor(new Array(6).fill(ignored), [2, 3], 'u32')
    expect(() => pare.crossEntropy(x, none, { ignored })).toThrow(/none of 6 has another label/)
    expect(pare.crossEntropy(x, none, { ignored, reduction: 'sum' }).item()).toBe(0)
    expect(() => pare.crossEntropy(x, tensor([0, 1], [2], 'u32'))).toThrow(/need u32 labels/)
    expect(() => pare.crossEntropy(x, zeros([2, 3, 5], 'f64'))).toThrow(/own shape and type/)
    expect(() => pare.crossEntropy(x, x, { ignored })).toThrow(/only labels/)
    expect(() => pare.crossEntropy(x, wrong, { smoothing: 2 })).toThrow(/in \[0, 1\]/)
  })
  claim('dropout keeps what falls, scales the rest, and goes back through the same mask', () => {
    const x = exactTensor([400]).add(3)
    const stream = randomStream(5, 'dropout')
    const { value, pull } = vjp(([x]) => pare.dropout(x, 0.25, stream), [x])
    const [dx] = pull([[value, pare.ones([400])]])
    const factors = valuesOf(dx)
    expectNear(
      value,
      valuesOf(x).map((v, i) => v * factors[i]!),
      { units: 2 },
    )
    const dropped = factors.filter((f) => f === 0).length
    expect(dropped).toBeGreaterThan(60)
    expect(dropped).toBeLessThan(140)
    for (const f of factors) if (f !== 0) expect(f).toBeCloseTo(4 / 3, 6)
    expect(stream.position).toBe(100n)
    const next = valuesOf(pare.dropout(pare.ones([400]), 0.25, stream))
    expect(next.some((f, i) => (f === 0) !== (factors[i] === 0))).toBe(true)
  })
  claim('dropout of nothing is the tensor itself and draws nothing', () => {
    const stream = randomStream(5, 'dropout')
    const x = exactTensor([7])
    expect(pare.dropout(x, 0, stream)).toBe(x)
    expect(pare.dropPath(x, 0, stream)).toBe(x)
    expect(stream.position).toBe(0n)
    expect(() => pare.dropout(x, 1, stream)).toThrow(/p must be in \[0, 1\)/)
  })
  claim('dropPath drops whole samples', () => {
    const rows = pare.dropPath(pare.ones([64, 3]), 0.5, randomStream(1, 'path'))
    const values = valuesOf(rows)
    for (let row = 0; row < 64; row++) expect(new Set(values.slice(3 * row, 3 * row + 3)).size).toBe(1)
    expect(new Set(values)).toEqual(new Set([0, 2]))
  })
  claim('rows of equal ids are added in ascending order of position', () => {
    // 1 is lost beside 2^24 in f32, so that the order of the sum shows; the reference adds in f64.
    const table = zeros([3, 1])
    const ids = tensor([1, 1, 1, 2], [4], 'u32')
    const { value, pull } = vjp(([table]) => pare.embedding(table, ids), [table])
    const [found] = pull([[value, tensor([2 ** 24, 1, -(2 ** 24), 5], [4, 1])]])
    expect(valuesOf(found)).toEqual([0, found.kernels.name === 'reference' ? 1 : 0, 5])
  })
  claim('gradients of nothing are of nothing', () => {
    const [found] = gradientsOf((x) => pare.rmsNorm(x!, undefined, 1e-5), [zeros([0, 4])])
    expect(found!.shape).toEqual([0, 4])
    const norm = gradientsOf(
      (x, w, b) => pare.layerNorm(x!, w!, b!, 1e-5),
      [zeros([0, 4]), zeros([4]), zeros([4])],
    )
    expect(norm.slice(1).map(valuesOf)).toEqual([new Array(4).fill(0), new Array(4).fill(0)])
    const table = gradientsOf((x) => pare.embedding(x!, tensor([], [0], 'u32')), [zeros([2, 3])])
    expect(valuesOf(table[0]!)).toEqual(new Array(6).fill(0))
    const keys = zeros([1, 1, 3, 4])
    const attention = gradientsOf(fused({}), [zeros([1, 2, 0, 4]), keys, keys])
    expect(attention.map(({ shape }) => shape)).toEqual([[1, 2, 0, 4], keys.shape, keys.shape])
    expect(pare.crossEntropy(zeros([0, 4]), tensor([], [0], 'u32'), { reduction: 'sum' }).item()).toBe(0)
  })
}
