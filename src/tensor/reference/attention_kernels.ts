/** Attention and its gradients, as kernels over the memory of the reference. */
import type { Handle, Kernels } from '../kernels.ts'
import type { Shape } from '../shape.ts'
import { attention, attentionGradient } from './attention.ts'
import type { Memory } from './memory.ts'

export function attentionKernels(
  memory: Memory,
): Pick<Kernels, 'attention' | 'attentionWithSums' | 'attentionGradient'> {
  const shapeOf = (x: Handle) => memory.view(x).shape
  const typeOf = (x: Handle) => memory.view(x).dtype
  const values = (x: Handle) => memory.values(x)
  const optional = (x: Handle | undefined) => (x === undefined ? undefined : values(x))
  const attentionSizes = (q: Handle, k: Handle, v: Handle) => {
    const [batch, heads, queries, dim] = shapeOf(q) as [number, number, number, number]
    const [, kvHeads, keys] = shapeOf(k) as [number, number, number, number]
    return { batch, heads, kvHeads, queries, keys, dim, valueDim: shapeOf(v).at(-1)! }
  }

  return {
    attention(q, k, v, bias, options) {
      const sizes = attentionSizes(q, k, v)
      const inputs = { q: values(q), k: values(k), v: values(v), bias: optional(bias) }
      const { out } = attention(inputs, sizes, options)
      return memory.compute(typeOf(q), [sizes.batch, sizes.queries, sizes.heads, sizes.valueDim], out)
    },
    attentionWithSums(q, k, v, bias, options) {
      const sizes = attentionSizes(q, k, v)
      const inputs = { q: values(q), k: values(k), v: values(v), bias: optional(bias) }
      const { out, logSums } = attention(inputs, sizes, options)
      return [
        memory.compute(typeOf(q), [sizes.batch, sizes.queries, sizes.heads, sizes.valueDim], out),
        memory.compute(typeOf(q) === 'f64' ? 'f64' : 'f32', shapeOf(q).slice(0, 3), logSums),
      ]
    },
    attentionGradient({ q, k, v, bias }, { dout }, { needsBias, ...options }) {
      const sizes = attentionSizes(q, k, v)
      const inputs = { q: values(q), k: values(k), v: values(v), bias: optional(bias) }
      const { dq, dk, dv, dbias } = attentionGradient(inputs, values(dout), sizes, options)
      const { batch, heads, kvHeads, queries, keys, dim, valueDim } = sizes
      const found: [Shape, Float64Array][] = [
        [[batch, queries, heads, dim], dq],
        [[batch, keys, kvHeads, dim], dk],
        [[batch, keys, kvHeads, valueDim], dv],
      ]
      if (needsBias) found.push([[batch, heads, queries, keys], dbias])
      return found.map(([shape, numbers]) => memory.compute(typeOf(q), shape, numbers))
    },
  }
}
