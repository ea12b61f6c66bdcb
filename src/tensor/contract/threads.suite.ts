import { expect } from 'vitest'
import * as pare from '../index.ts'
import { matmul, type Tensor } from '../index.ts'
import { type Claim, exactTensor } from './claims.suite.ts'
import { forwardAndBack, gradientCalls } from './gradients.suite.ts'
import { distance, identity, positive } from './linalg.suite.ts'
import { withStates } from './optimiser_steps.suite.ts'

/** Work large enough to be shared among threads, above the sizes from which faer blocks and splits. */
const work: Record<string, () => Tensor[]> = {
  'f32 product': () => [matmul(exactTensor([701, 513]), exactTensor([513, 645], 'f32', 2))],
  'f64 product': () => [matmul(exactTensor([389, 257], 'f64'), exactTensor([257, 411], 'f64', 2))],
  'bf16 product': () => [
    matmul(exactTensor([301, 520], 'bf16'), exactTensor([777, 520], 'bf16', 2).transpose()),
  ],
  'row times matrix': () => [matmul(exactTensor([1, 1000]), exactTensor([1000, 3000], 'f32', 2))],
  'batched product': () => [matmul(exactTensor([24, 65, 64]), exactTensor([24, 64, 67], 'f32', 2))],
  gram: () => [
    pare.gram(exactTensor([1500, 301])),
    pare.gram(exactTensor([1500, 301]), { into: 'f64' }),
    pare.gram(exactTensor([1500, 301], 'bf16')),
  ],
  elementwise: () => [
    exactTensor([300_001])
      .exp()
      .mul(0.3)
      .silu()
      .add(exactTensor([300_001], 'f32', 3)),
  ],
  reductions: () => {
    const x = exactTensor([37, 20_011]).div(3)
    return [x.sum(), x.sum(0), x.sum(1), x.mean(), x.logsumexp(), x.prod(0), x.argmax(), x.variance(1)]
  },
  'bf16 reductions': () => {
    const x = exactTensor([37, 20_011], 'bf16')
    return [x.sum(), x.sum(0), x.sum(1)]
  },
  norms: () => {
    const x = exactTensor([601, 300]).div(3)
    const weight = exactTensor([300])
    return [
      x.softmax(),
      x.logSoftmax(0),
      pare.rmsNorm(x, weight, 1e-5),
      pare.layerNorm(x, weight, weight, 1e-5),
    ]
  },
  convolution: () => {
    const [x, weight] = [exactTensor([9, 16, 15, 20]).div(3), exactTensor([18, 3, 3, 20], 'f32', 2)]
    const depthwise = exactTensor([20, 3, 3, 1], 'f32', 3)
    const inputs = [x, weight, depthwise]
    const { value, pull } = pare.vjp(
      () =>
        pare.batchNorm(
          pare.conv2d(pare.conv2d(x, depthwise, undefined, { groups: 20, padding: 1 }), weight, undefined, {
            stride: 2,
            padding: [0, 1, 0, 1],
          }),
          undefined,
          undefined,
          1e-5,
          { activation: 'relu' },
        ).output,
      inputs,
    )
    return [value, ...pull([[value, exactTensor(value.shape, 'f32', 4)]])]
  },
  attention: () => {
    const [q, k] = [exactTensor([2, 6, 150, 64]), exactTensor([2, 2, 150, 64], 'f32', 2)]
    return [pare.attention(q, k, k, { causal: true })]
  },
  'gradients of rows': () =>
    [
      { body: (x: Tensor) => x.softmax(), shapes: [[601, 300]] },
      { body: (x: Tensor) => x.logSoftmax(), shapes: [[601, 300]] },
      { body: (x: Tensor, w: Tensor) => pare.rmsNorm(x, w, 1e-5), shapes: [[601, 300], [300]] },
      {
        body: (x: Tensor, w: Tensor, b: Tensor) => pare.layerNorm(x, w, b, 1e-5),
        shapes: [[7001, 30], [30], [30]],
      },
      { body: (x: Tensor, up: Tensor) => pare.swiglu(x, up), shapes: [[601, 300], [300]] },
    ].flatMap((call) => forwardAndBack(call as never, 'f32')),
  'gradient of attention': () =>
    ['attention', 'causal attention with a bias'].flatMap((name) =>
      forwardAndBack(gradientCalls[name]!, 'f32'),
    ),
  'gradients of losses, tables and masks': () => [
    ...['cross-entropy', 'cross-entropy of distributions'].flatMap((name) =>
      forwardAndBack(gradientCalls[name]!, 'f32'),
    ),
    ...forwardAndBack(
      {
        body: (x) => pare.dropout(x!, 0.3, pare.randomStream(1, 'dropout')),
        shapes: [[300_001]],
        units: 0,
        scale: 0,
      },
      'f32',
    ),
    ...forwardAndBack(
      {
        body: (x) => pare.embedding(x!, exactTensor([9001]).add(2).mul(200).cast('u32')),
        shapes: [[801, 64]],
        units: 0,
        scale: 0,
      },
      'f32',
    ),
  ],
  ordering: () => {
    const x = exactTensor([9, 30_011])
    const { values, indices } = x.sort()
    return [values, indices, x.topK(100).indices]
  },
  scatter: () => {
    const index = exactTensor([200_000]).add(2).mul(20).cast('u32')
    return [
      pare.scatter(exactTensor([100]), 0, index, exactTensor([200_000], 'f32', 2).div(3), { mode: 'add' }),
    ]
  },
  'steps of optimisers': () => {
    const x = exactTensor([300_001]).div(3)
    const step = {
      rate: 0.1,
      scale: 0.3,
      decay: 0.1,
      beta1: 0.9,
      beta2: 0.99,
      correction: 0.1,
      epsilon: 1e-8,
    }
    return withStates([x, x, x.square()], (p, m, v) => {
      pare.adamStep(p!, m!, v!, x, { ...step, keep: 0.9 })
      pare.sgdStep(p!, m!, x, { ...step, momentum: 0.9, fresh: 1, nesterov: true })
      p!.lerp(m!.tensor(), 0.3)
      return [p!.value(), m!.value(), v!.value(), pare.tensor([pare.sumOfSquares(x)], [1], 'f64')]
    })
  },
  random: () => {
    const stream = pare.randomStream(1, 'threads')
    return [
      stream.bits([200_003]),
      stream.uniform([200_003]),
      stream.normal([200_003]),
      stream.normal([9001], 'f64'),
    ]
  },
  'f32 Cholesky': () => {
    const factor = pare.cholesky(positive(700, 'f32'))
    return [factor, pare.choleskyInverse(factor)]
  },
  'f64 Cholesky': () => {
    const factor = pare.cholesky(positive(520, 'f64'))
    return [factor, pare.choleskyInverse(factor)]
  },
  solves: () => {
    const [a, b] = [positive(600, 'f64'), exactTensor([600, 90], 'f64', 5)]
    return [pare.solve(a, b), pare.triangularSolve(pare.cholesky(a), b)]
  },
  QR: () => Object.values(pare.qr(exactTensor([640, 300], 'f64'))),
  SVD: () => Object.values(pare.svd(exactTensor([260, 200], 'f32'))),
  eigen: () => Object.values(pare.eigh(positive(300, 'f64'))),
}

/** For kernels whose number of threads can be set. */
export function threadClaims(claim: Claim, setThreads: (threads: number) => void): void {
  for (const [name, run] of Object.entries(work)) {
    claim(`${name}: 1, 2 and 3 threads give the same bits`, () => {
      const results = [1, 2, 3].map((threads) => {
        setThreads(threads)
        return pare.scope(() => run().map((x) => Buffer.from(x.bytes())))
      })
      for (const other of results.slice(1)) {
        for (const [i, bytes] of results[0]!.entries()) {
          expect(Buffer.compare(bytes, other[i]!), `result ${i}`).toBe(0)
        }
      }
    })
  }
  claim('large factors multiply back', () => {
    const a = positive(700, 'f32')
    const l = pare.cholesky(a)
    expect(distance(matmul(l, l.transpose()), a)).toBeLessThan(8 * 700)
    const tall = exactTensor([640, 300], 'f64')
    const { q, r } = pare.qr(tall)
    expect(distance(matmul(q, r), tall)).toBeLessThan(32 * 940)
    expect(distance(matmul(q.transpose(), q), identity(300, 'f64'))).toBeLessThan(32 * 940)
    const { u, s, vt } = pare.svd(tall)
    expect(distance(matmul(u.mul(s), vt), tall)).toBeLessThan(32 * 940)
    const symmetric = positive(300, 'f64')
    const { values, vectors } = pare.eigh(symmetric)
    expect(distance(matmul(vectors.mul(values), vectors.transpose()), symmetric)).toBeLessThan(32 * 300)
    const b = exactTensor([300, 7], 'f64')
    const x = pare.solve(symmetric, b)
    expect(distance(matmul(symmetric, x), b, x)).toBeLessThan(32 * 300)
  })
}
