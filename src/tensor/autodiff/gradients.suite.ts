/** Gradients of the operations, against central differences. */
import { expect } from 'vitest'
import { type Claim, exactTensor, valuesOf } from '../contract/claims.suite.ts'
import * as pare from '../index.ts'
import { type Tensor, tensor, valueAndGrad } from '../index.ts'
import { gradientCheck, inputsOf } from './gradient_check.suite.ts'

type Body = (...inputs: Tensor[]) => Tensor | readonly Tensor[]
type Case = readonly [body: Body, shapes: readonly pare.Shape[]]

/** Functions of one tensor that are smooth on [-2, 2], or made so. */
const unary = {
  neg: pare.neg,
  abs: pare.abs,
  exp: pare.exp,
  expm1: pare.expm1,
  log: (x: Tensor) => pare.log(x.abs().add(0.5)),
  log1p: (x: Tensor) => pare.log1p(x.abs()),
  sqrt: (x: Tensor) => pare.sqrt(x.abs().add(0.5)),
  rsqrt: (x: Tensor) => pare.rsqrt(x.abs().add(0.5)),
  reciprocal: (x: Tensor) => pare.reciprocal(x.abs().add(0.5)),
  square: pare.square,
  sin: pare.sin,
  cos: pare.cos,
  tanh: pare.tanh,
  sigmoid: pare.sigmoid,
  silu: pare.silu,
  relu: pare.relu,
  geluErf: pare.geluErf,
  geluTanh: pare.geluTanh,
  erf: pare.erf,
  clamp: (x: Tensor) => pare.clamp(x, { min: -0.77, max: 0.91 }),
  'clamp from one side': (x: Tensor) => pare.clamp(x, { max: 0.3 }),
}

const indices = () => tensor([2, 0, 2, 1, 1, 2], [2, 3], 'u32')

const cases: Record<string, Case> = {
  add: [(a, b) => a!.add(b!), [[3, 5], [5]]],
  sub: [
    (a, b) => a!.sub(b!),
    [
      [3, 1],
      [3, 5],
    ],
  ],
  mul: [
    (a, b) => a!.mul(b!),
    [
      [3, 5],
      [1, 5],
    ],
  ],
  'mul with itself': [(a) => a!.mul(a!), [[7]]],
  div: [
    (a, b) => a!.div(b!.abs().add(0.7)),
    [
      [3, 5],
      [3, 1],
    ],
  ],
  'a number over a tensor': [(a) => pare.div(2, a!.abs().add(0.7)), [[5]]],
  pow: [(a, b) => a!.abs().add(0.3).pow(b!), [[3, 5], [5]]],
  'pow with a number': [(a) => a!.pow(3), [[7]]],
  maximum: [(a, b) => a!.maximum(b!), [[3, 5], [5]]],
  minimum: [(a, b) => a!.minimum(b!), [[3, 5], [5]]],
  where: [(a, b) => a!.greater(b!).where(a!.mul(2), b!.mul(3)), [[3, 5], [5]]],
  reshape: [(a) => a!.reshape([5, 3]).mul(a!.transpose()), [[3, 5]]],
  permute: [(a) => a!.permute([2, 0, 1]).square(), [[2, 3, 5]]],
  slice: [(a) => a!.slice(1, 1, 4).square(), [[3, 5]]],
  'slice with a step': [(a) => a!.slice(1, 1, 7, 3).square(), [[3, 7, 2]]],
  'slice of nothing': [(a) => [a!.slice(0, 1, 1), a!.square()], [[3]]],
  select: [(a) => a!.select(1, 2).square(), [[3, 5]]],
  place: [(a) => a!.place(9, { axis: 1, start: 2, step: 2 }).square(), [[2, 3]]],
  expand: [(a) => a!.expand([4, 3, 5]).square(), [[3, 1]]],
  'contiguous after transpose': [(a) => a!.transpose().contiguous().square(), [[3, 5]]],
  sum: [(a) => a!.sum([0, 2]).square(), [[2, 3, 5]]],
  'sum of all': [(a) => a!.square().sum(), [[2, 3]]],
  mean: [(a) => a!.mean(1, { keepDims: true }).square(), [[2, 3, 5]]],
  max: [(a) => a!.max(0).square(), [[4, 5]]],
  min: [(a) => a!.min([0, 1]).square(), [[2, 3, 5]]],
  prod: [(a) => a!.prod(1), [[3, 4]]],
  logsumexp: [(a) => a!.logsumexp(1), [[3, 5]]],
  variance: [(a) => a!.variance(-1), [[3, 5]]],
  norm: [(a) => [a!.norm(1), a!.norm(0, { order: 1 }), a!.norm(0, { order: Infinity })], [[3, 5]]],
  softmax: [(a) => a!.softmax(0), [[4, 3]]],
  logSoftmax: [(a) => a!.logSoftmax(), [[4, 3]]],
  matmul: [
    (a, b) => a!.matmul(b!),
    [
      [3, 4],
      [4, 5],
    ],
  ],
  'matmul over batches': [
    (a, b) => a!.matmul(b!),
    [
      [2, 1, 3, 4],
      [3, 4, 5],
    ],
  ],
  'one matrix for a batch': [
    (a, b) => a!.matmul(b!),
    [
      [2, 3, 4],
      [4, 5],
    ],
  ],
  'matmul of views': [
    (a, b) => a!.transpose().matmul(b!.transpose()),
    [
      [4, 3],
      [5, 4],
    ],
  ],
  'matmul with everything': [
    (a, b, c, d) => a!.matmul(b!, { bias: c!, activation: 'silu', residual: d! }),
    [[3, 4], [4, 5], [5], [3, 5]],
  ],
  linear: [(x, w, b) => pare.linear(x!, w!, b!), [[2, 3, 4], [5, 4], [5]]],
  gram: [(a) => a!.gram(), [[3, 4]]],
  solve: [
    (a, b) => pare.solve(a!.add(eye(3).mul(4)), b!),
    [
      [3, 3],
      [3, 2],
    ],
  ],
  'solve over a batch': [
    (a, b) => pare.solve(a!.add(eye(3).mul(4)), b!),
    [
      [2, 3, 3],
      [2, 3, 2],
    ],
  ],
  indexSelect: [(a) => a!.indexSelect(1, tensor([2, 0, 2], [3], 'u32')).square(), [[2, 3]]],
  embedding: [(a) => pare.embedding(a!, indices()).square(), [[3, 4]]],
  gather: [(a) => a!.gather(1, indices()).square(), [[2, 4]]],
  'scatter add': [
    (a, b) => pare.scatter(a!, 1, indices(), b!, { mode: 'add' }).square(),
    [
      [2, 4],
      [2, 3],
    ],
  ],
  'scatter set': [
    (a, b) => pare.scatter(a!, 1, indices(), b!).square(),
    [
      [2, 4],
      [2, 3],
    ],
  ],
  concat: [
    (a, b) => pare.concat([a!, b!, a!], 1).square(),
    [
      [2, 3],
      [2, 2],
    ],
  ],
  stack: [
    (a, b) => pare.stack([a!, b!], 1).square(),
    [
      [2, 3],
      [2, 3],
    ],
  ],
  split: [(a) => pare.split(a!, [2, 0, 3], 1).map((part, i) => part.mul(i + 1).square()), [[2, 5]]],
  'split with a part that nobody reads': [(a) => pare.split(a!, [2, 3], 1)[0]!.square(), [[2, 5]]],
  unstack: [(a) => pare.unstack(a!, 1).map((part, i) => part.mul(i + 1).square()), [[2, 3, 2]]],
  sort: [(a) => a!.sort({ axis: 0, descending: true }).values.square(), [[5, 2]]],
  topK: [(a) => a!.topK(2, { axis: 0 }).values.square(), [[5, 2]]],
  'cast and back': [(a) => a!.cast('f64').square(), [[5]]],
}

const eye = (n: number) =>
  tensor(
    Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)),
    [n, n],
    'f64',
  )

export function gradientClaims(claim: Claim): void {
  for (const [name, f] of Object.entries(unary))
    claim(`the gradient of ${name} is that of differences`, () => gradientCheck(f, inputsOf([3, 5])))
  for (const [name, [body, shapes]] of Object.entries(cases))
    claim(`the gradient of ${name} is that of differences`, () => gradientCheck(body, inputsOf(...shapes)))

  claim('constant steps give no gradient, comparisons neither', () => {
    const x = exactTensor([5], 'f64')
    const { gradients } = valueAndGrad(
      ([x]) => x.round().add(x.floor()).add(x.sign()).add(x.greater(0).cast('f64')).sum(),
      [x],
    )
    expect(valuesOf(gradients[0])).toEqual([0, 0, 0, 0, 0])
  })
  claim('what is equal shares the gradient of the largest', () => {
    const x = tensor([1, 3, 3, 2], [4], 'f64')
    expect(valuesOf(valueAndGrad(([x]) => x.max(), [x]).gradients[0])).toEqual([0, 0.5, 0.5, 0])
    const y = tensor([1, 3, 0, 2], [4], 'f64')
    const { gradients } = valueAndGrad(([x, y]) => x.maximum(y).sum(), [x, y])
    expect(gradients.map(valuesOf)).toEqual([
      [0.5, 0.5, 1, 0.5],
      [0.5, 0.5, 0, 0.5],
    ])
  })
  claim('products with zeros have the products of the others as gradients', () => {
    const x = tensor([2, 0, 3, 0, 0, 4, 5, 6, 7], [3, 3], 'f64')
    expect(valuesOf(valueAndGrad(([x]) => x.prod(1).sum(), [x]).gradients[0])).toEqual([
      0, 6, 0, 0, 0, 0, 42, 35, 30,
    ])
  })
  claim('a length of zero has a gradient of zero', () => {
    const x = tensor([0, 0, 0, -4], [2, 2], 'f64')
    expect(valuesOf(valueAndGrad(([x]) => x.norm(1).sum(), [x]).gradients[0])).toEqual([0, 0, 0, -1])
  })
  claim('f32 and bf16 get gradients of their own type, near those of f64', () => {
    const shapes: pare.Shape[] = [
      [3, 4],
      [4, 5],
    ]
    const gradientsIn = (dtype: pare.DType) => {
      const [a, b] = shapes.map((shape, i) => exactTensor(shape, dtype, i + 1)) as [Tensor, Tensor]
      return valueAndGrad(([a, b]) => a.matmul(b).tanh().mean(), [a, b]).gradients
    }
    const exact = gradientsIn('f64')
    for (const [dtype, tolerance] of [
      ['f32', 1e-6],
      ['bf16', 2e-2],
    ] as const)
      for (const [i, gradient] of gradientsIn(dtype).entries()) {
        expect(gradient.dtype).toBe(dtype)
        const wanted = valuesOf(exact[i]!)
        for (const [at, value] of valuesOf(gradient).entries())
          expect(Math.abs(value - wanted[at]!)).toBeLessThan(tolerance)
      }
  })
}
