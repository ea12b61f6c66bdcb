/** Attention in the standard operators of ONNX, over queries that may share their keys in groups. */
import { int } from '../../formats/onnx/graph.ts'
import type { GraphBuilder } from './graph_builder.ts'

export interface AttentionInputs {
  /** [batch, heads, queries, headSize] */
  readonly queries: string
  /** [batch, kvHeads, keys, headSize] */
  readonly keys: string
  /** As the keys. */
  readonly values: string
  /** Which keys are seen: bool, stretches to [batch, heads, queries, keys]. */
  readonly visible: string
}

export interface AttentionShape {
  readonly heads: number
  readonly kvHeads: number
  readonly headSize: number
}

/** The lowest number of a type: a row that sees nothing becomes an even mean, where -infinity would become NaN. */
const lowest = { F32: -3.4028234663852886e38, F16: -65504 } as const

/**
 * softmax(q k^T / sqrt(headSize)) v -> [batch * queries, heads * headSize]. Queries that share keys are rows of one
 * product, so that no key is copied.
 */
export function attention(
  b: GraphBuilder,
  name: string,
  { queries, keys, values, visible }: AttentionInputs,
  { heads, kvHeads, headSize }: AttentionShape,
): string {
  const shared = heads !== kvHeads
  const grouped = (step: string, x: string, width: number) =>
    shared ? b.reshape(`${name}/${step}`, x, [0, kvHeads, -1, width]) : x
  const single = (step: string, x: string, width: number) =>
    shared ? b.reshape(`${name}/${step}`, x, [0, heads, -1, width]) : x
  // Scaled before the product, which f16 holds then.
  const scaled = b.add(`${name}/scaled`, 'Mul', [queries, b.number(1 / Math.sqrt(headSize))])
  const turned = b.transpose(`${name}/keys`, keys, [0, 1, 3, 2])
  const products = b.add(`${name}/products`, 'MatMul', [grouped('groups', scaled, headSize), turned])
  // A width of 0 stands for that of the product, the number of keys.
  const scores = single('scores', products, 0)
  const seen = b.add(`${name}/seen`, 'Where', [visible, scores, b.number(lowest[b.activations])])
  const shares = b.add(`${name}/shares`, 'Softmax', [seen], { axis: int(-1) })
  const mixed = b.add(`${name}/mixed`, 'MatMul', [grouped('share_groups', shares, 0), values])
  const apart = b.transpose(`${name}/heads`, single('mixed_heads', mixed, headSize), [0, 2, 1, 3])
  return b.reshape(name, apart, [-1, heads * headSize])
}

/** [batch * tokens, heads * headSize] -> [batch, heads, tokens, headSize]. @param shape of batch and tokens */
export function splitHeads(
  b: GraphBuilder,
  name: string,
  x: string,
  shape: string,
  { heads, headSize }: Pick<AttentionShape, 'heads' | 'headSize'>,
): string {
  const full = b.add(`${name}/shape`, 'Concat', [shape, b.wholes([heads, headSize])], { axis: int(0) })
  const apart = b.add(`${name}/apart`, 'Reshape', [x, full])
  return b.transpose(name, apart, [0, 2, 1, 3])
}
