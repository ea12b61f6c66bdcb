/** Gradient kernels of a set against the reference loops, at sizes across their blocks, in every computing type. */
import * as pare from '../index.ts'
import { type DType, referenceKernels, type Shape, type Tensor, tensor, vjp, withKernels } from '../index.ts'
import { type Claim, computing, exactTensor, expectNear, valuesOf } from './claims.suite.ts'

type Body = (...inputs: Tensor[]) => Tensor
interface Call {
  body: Body
  shapes: Shape[]
  /** Roundings of values of size `scale`. */
  units: number
  scale: number
  /** The same for results in bf16, whose sums run in f32. @default 8 */
  bf16Units?: number
}

const labels = (rows: number, classes: number) =>
  tensor(
    Array.from({ length: rows }, (_, i) => (i % 7 === 3 ? 4294967295 : (i * 31) % classes)),
    [rows],
    'u32',
  )
const heads = (
  batch: number,
  many: number,
  few: number,
  queries: number,
  keys: number,
  dim: number,
): Shape[] => [
  [batch, many, queries, dim],
  [batch, few, keys, dim],
  [batch, few, keys, dim],
]

/** Results are as large as `scale`, or sums of terms that are. */
export const gradientCalls: Record<string, Call> = {
  softmax: { body: (x) => x!.mul(4).softmax(), shapes: [[33, 301]], units: 32, scale: 0.1 },
  'softmax of a view': { body: (x) => x!.transpose().softmax(), shapes: [[47, 65]], units: 32, scale: 0.1 },
  logSoftmax: { body: (x) => x!.logSoftmax(), shapes: [[33, 301]], units: 64, scale: 4 },
  rmsNorm: {
    body: (x, w) => pare.rmsNorm(x!, w!, 1e-3),
    shapes: [[5, 61, 129], [129]],
    units: 64,
    scale: 8,
  },
  layerNorm: {
    body: (x, w, b) => pare.layerNorm(x!, w!, b!, 1e-3),
    shapes: [[301, 129], [129], [129]],
    units: 64,
    scale: 8,
  },
  'layerNorm of a view': {
    body: (x, w) => pare.layerNorm(x!.transpose(), w!, undefined, 1e-3),
    shapes: [[64, 45], [64]],
    units: 64,
    scale: 8,
  },
  silu: { body: (x) => x!.mul(4).silu(), shapes: [[1001]], units: 16, scale: 8 },
  geluErf: { body: (x) => pare.geluErf(x!.mul(2)), shapes: [[1001]], units: 16, scale: 8 },
  geluTanh: { body: (x) => pare.geluTanh(x!.mul(2)), shapes: [[1001]], units: 16, scale: 8 },
  tanh: { body: (x) => x!.tanh(), shapes: [[1001]], units: 8, scale: 2 },
  sigmoid: { body: (x) => x!.mul(4).sigmoid(), shapes: [[1001]], units: 8, scale: 2 },
  relu: { body: (x) => x!.relu(), shapes: [[1001]], units: 1, scale: 0 },
  swiglu: {
    body: (x, up) => pare.swiglu(x!, up!),
    shapes: [
      [65, 33],
      [65, 33],
    ],
    units: 8,
    scale: 8,
  },
  'cross-entropy': {
    body: (x) =>
      pare.crossEntropy(x!.mul(4), labels(71, 301), {
        ignored: 4294967295,
        reduction: 'none',
        smoothing: 0.1,
      }),
    shapes: [[71, 301]],
    units: 32,
    scale: 8,
  },
  'cross-entropy of distributions': {
    body: (x, t) => pare.crossEntropy(x!, t!, { reduction: 'none' }),
    shapes: [
      [17, 129],
      [17, 129],
    ],
    units: 256,
    scale: 8,
  },
  attention: {
    body: (q, k, v) => pare.attention(q!, k!, v!),
    shapes: heads(2, 4, 2, 75, 139, 20),
    units: 300,
    scale: 2,
  },
  'causal attention with a bias': {
    body: (q, k, v, bias) => pare.attention(q!, k!, v!, { causal: true, bias: bias! }),
    shapes: [...heads(1, 2, 1, 133, 137, 33), [1, 2, 133, 137]],
    units: 300,
    scale: 2,
  },
  'attention of wide heads': {
    body: (q, k, v) => pare.attention(q!, k!, v!.slice(3, 0, 40), { causal: true }),
    shapes: heads(1, 1, 1, 31, 31, 96),
    units: 300,
    scale: 2,
  },
  dropout: {
    body: (x) => pare.dropout(x!, 0.3, pare.randomStream(1, 'dropout')),
    shapes: [[70, 71]],
    units: 2,
    scale: 0,
  },
  embedding: {
    body: (x) =>
      pare.embedding(
        x!,
        tensor(
          Array.from({ length: 400 }, (_, i) => (i * i) % 41),
          [400],
          'u32',
        ),
      ),
    shapes: [[41, 19]],
    units: 64,
    scale: 8,
  },
}

/** The result of a call, and the gradients of its inputs where the result gets numbers of [-2, 2]. */
export function forwardAndBack({ body, shapes }: Call, dtype: DType): Tensor[] {
  const inputs = shapes.map((shape, i) => exactTensor(shape, dtype, i + 1))
  const { value, pull } = vjp(() => body(...inputs), inputs)
  return [value, ...pull([[value, exactTensor(value.shape, value.dtype, 9)]])]
}

export function gradientOracleClaims(claim: Claim): void {
  for (const dtype of computing) {
    for (const [name, call] of Object.entries(gradientCalls)) {
      claim(`${dtype}: the gradient of ${name}: as the reference`, () => {
        const want = withKernels(referenceKernels(), () => forwardAndBack(call, dtype).map(valuesOf))
        for (const [i, found] of forwardAndBack(call, dtype).entries())
          expectNear(found, want[i]!, {
            units: found.dtype === 'bf16' ? (call.bf16Units ?? 8) : call.units,
            scale: call.scale,
          })
      })
    }
  }
}
