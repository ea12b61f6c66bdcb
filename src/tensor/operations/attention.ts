/**
 * Softmax attention with grouped queries: head h reads the key and value head floor(h / (heads / kvHeads)).
 * The fused path never holds the whole score matrix; the explicit one hands it out.
 */
import { withKernels } from '../current_kernels.ts'
import { ShapeError } from '../errors.ts'
import type { AttentionOptions as KernelOptions, Kernels } from '../kernels.ts'
import { tensor } from '../makers.ts'
import { apply, isRecording, type Operation } from '../operation.ts'
import { detach, scope } from '../scope.ts'
import { broadcastShapes, sameShape, showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { cast, widen } from './cast.ts'
import { add, mul, where } from './elementwise.ts'
import { isExplicit } from './explicit.ts'
import { matmul } from './matmul.ts'
import { softmax } from './normalize.ts'
import { needSame } from './operand.ts'

export interface AttentionOptions {
  /** Factor on the scores. @default 1 / sqrt(dim) */
  scale?: number
  /** Query i sees keys up to i + (keys - queries), so that the last query sees all. @default false */
  causal?: boolean
  /** Added to the scaled scores; broadcasts to [batch, heads, queries, keys]. Minus infinity hides a key. */
  bias?: Tensor | undefined
}

/** Where a hook may look: scores after scale, bias and mask, or probabilities, each [batch, heads, queries, keys]. */
export type AttentionSite = 'scores' | 'probabilities'

export interface ExplicitOptions extends AttentionOptions {
  /** Reads a tensor, or replaces it by returning one of the same shape and type. */
  at?: (site: AttentionSite, tensor: Tensor) => Tensor | undefined
}

type Inputs = [q: Tensor, k: Tensor, v: Tensor, bias: Tensor | undefined]
type GradientOptions = KernelOptions & { needsBias: boolean }

/** From q, k, v, bias, the result, its logarithms of sums, and its gradient. */
const attentionGradientOperation: Operation<
  [...Inputs, Tensor, Tensor, Tensor],
  GradientOptions,
  readonly Tensor[]
> = {
  name: 'attentionGradient',
  forward(kernels, [q, k, v, bias, out, logSums, dout], options) {
    const handles = kernels.attentionGradient(
      { q: q.handle, k: k.handle, v: v.handle, bias: bias?.handle },
      { out: out.handle, logSums: logSums.handle, dout: dout.handle },
      options,
    )
    return handles.map((handle, i) => {
      const shape = [q, k, v, bias][i]!.shape
      const byToken = [shape[0]!, shape[2]!, shape[1]!, shape[3]!]
      return new Tensor(kernels, handle, q.dtype, i < 3 ? byToken : shape)
    })
  },
}

/** The result [batch, queries, heads, valueDim] and, on the tape, the logarithms of the sums of exp(score). */
const attentionOperation: Operation<Inputs, KernelOptions, readonly Tensor[]> = {
  name: 'attention',
  forward(kernels, [q, k, v, bias], options) {
    const [batch, heads, queries] = q.shape as [number, number, number, number]
    const operands = [q.handle, k.handle, v.handle, bias?.handle, options] as const
    const shape = [batch, queries, heads, v.extent(3)]
    if (!isRecording()) return [new Tensor(kernels, kernels.attention(...operands), q.dtype, shape)]
    const [out, logSums] = kernels.attentionWithSums(...operands)
    const wide = q.dtype === 'f64' ? 'f64' : 'f32'
    return [
      new Tensor(kernels, out, q.dtype, shape),
      new Tensor(kernels, logSums, wide, [batch, heads, queries]),
    ]
  },
  saves: () => ({ inputs: [0, 1, 2, 3], outputs: [0, 1] }),
  backward({ inputs, output: [out, logSums], options, needs, gradient }) {
    const found = apply(attentionGradientOperation, [...inputs, out!, logSums!, gradient], {
      ...options,
      needsBias: needs[3] === true,
    })
    return needs.map((need, i) => (need ? (i < 3 ? found[i]!.transpose(1, 2) : found[i]) : undefined))
  },
}

/**
 * softmax(scale q k^T + bias) v without the whole score matrix in memory.
 *
 * q [batch, heads, queries, dim], k [batch, kvHeads, keys, dim], v [batch, kvHeads, keys, valueDim], where kvHeads
 * divides heads. The result [batch, heads, queries, valueDim] is a view of row-major [batch, queries, heads,
 * valueDim]: `transpose(1, 2)` and a reshape to [batch, queries, heads * valueDim] cost nothing. A query that sees
 * no key gives NaN.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  if (isExplicit()) return explicitAttention(q, k, v, options)
  const { scale, causal, bias, scores } = checked(q, k, v, options)
  return scope(() =>
    apply(attentionOperation, [q, k, v, bias?.expand(scores)], { scale, causal })[0]!.transpose(1, 2),
  )
}

/**
 * The same computation in single operations, with the scores and probabilities within reach. bf16 runs in f32
 * between its inputs and its result, as the fused path does.
 *
 * @example explicitAttention(q, k, v, { at: (site, x) => { if (site === 'probabilities') seen.push(x) } })
 */
export function explicitAttention(q: Tensor, k: Tensor, v: Tensor, options: ExplicitOptions = {}): Tensor {
  const { scale, causal, bias, scores: shape, heads, kvHeads } = checked(q, k, v, options)
  const [batch, , queries, keys] = shape
  const grouped = (x: Tensor) => x.reshape([batch, kvHeads, heads / kvHeads, ...x.shape.slice(2)])
  const visit = (site: AttentionSite, x: Tensor): Tensor => {
    if (!options.at) return x
    const replaced = options.at(site, detach(x))
    if (!replaced) return x
    if (sameShape(replaced.shape, x.shape) && replaced.dtype === x.dtype) return replaced
    throw new ShapeError(
      `attention: ${site} may be replaced by ${x.dtype} ${showShape(x.shape)}, got ${replaced.dtype} ${showShape(replaced.shape)}`,
    )
  }
  return scope(() => {
    const [query, key, value] = [widen(q), widen(k), widen(v)]
    const products = matmul(grouped(query), key.unsqueeze(2).transpose()).reshape(shape)
    const scaled = mul(products, scale)
    const biased = bias ? add(scaled, cast(bias, scaled.dtype)) : scaled
    const scores = visit(
      'scores',
      causal ? where(causalMask(q.kernels, queries, keys), biased, -Infinity) : biased,
    )
    const probabilities = visit('probabilities', softmax(scores))
    const mixed = matmul(grouped(probabilities), value.unsqueeze(2)) // [batch, kvHeads, group, queries, valueDim]
    return cast(mixed.reshape([batch, heads, queries, v.extent(3)]), q.dtype)
  })
}

/** True where a query sees a key, [queries, keys]. */
function causalMask(kernels: Kernels, queries: number, keys: number): Tensor {
  const seen = Uint8Array.from({ length: queries * keys }, (_, i) =>
    Number((i % keys) - Math.floor(i / keys) <= keys - queries),
  )
  return withKernels(kernels, () => tensor(seen, [queries, keys], 'bool'))
}

function checked(q: Tensor, k: Tensor, v: Tensor, { scale, causal = false, bias }: AttentionOptions) {
  needCompute(q, 'attention')
  needSame('attention', q, k)
  needSame('attention', q, v)
  const [batch, heads, queries, dim] = q.shape as [number, number, number, number]
  const [kBatch, kvHeads, keys, kDim] = k.shape as [number, number, number, number]
  const sameKeys = k.rank === 4 && v.rank === 4 && sameShape(k.shape.slice(0, 3), v.shape.slice(0, 3))
  const fits = q.rank === 4 && sameKeys && batch === kBatch && dim === kDim
  if (!fits || kvHeads === 0 || heads % kvHeads !== 0) {
    throw new ShapeError(
      `attention: needs q [batch, heads, queries, dim] and k, v [batch, kvHeads, keys, ..] with kvHeads a divisor of heads, got ${[q, k, v].map((x) => showShape(x.shape)).join(', ')}`,
    )
  }
  if (causal && queries > keys) {
    throw new ShapeError(
      `attention: causal needs at least as many keys as queries, got ${keys} and ${queries}`,
    )
  }
  const scores: [number, number, number, number] = [batch, heads, queries, keys]
  if (bias) {
    needSame('attention', q, bias)
    if (!sameShape(broadcastShapes(bias.shape, scores, 'attention bias'), scores)) {
      throw new ShapeError(
        `attention: bias ${showShape(bias.shape)} does not broadcast to ${showShape(scores)}`,
      )
    }
  }
  return { scale: scale ?? 1 / Math.sqrt(dim), causal, bias, scores, heads, kvHeads }
}
