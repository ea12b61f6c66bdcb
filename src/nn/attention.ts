/**
 * Attention over linear layers (Vaswani et al. 2017, arXiv:1706.03762, section 3.2), with grouped key and value heads
 * (Ainslie et al. 2023, arXiv:2305.13245): of a sequence to itself, causal or in both directions, or to another one.
 */
import { ShapeError } from '../tensor/errors.ts'
import {
  attention,
  concat,
  explicitAttention,
  scope,
  showShape,
  split,
  type Tensor,
  zeros,
} from '../tensor/index.ts'
import type { ResourceHolder } from '../tensor/scope.ts'
import type { Linear } from './linear.ts'
import { anyAsked, type Sites, visit } from './sites.ts'

export interface AttentionWeights {
  /** [heads * headSize, in] */
  q: Linear
  /** [kvHeads * headSize, in of the keys' sequence], as v */
  k: Linear
  v: Linear
  /** [out, heads * headSize] */
  o: Linear
}

export interface AttentionShape {
  heads: number
  /** Divides `heads`: each key head serves as many neighbouring query heads. @default heads */
  kvHeads?: number | undefined
  headSize: number
  /** Query i sees keys up to i + (keys - queries). @default false */
  causal?: boolean | undefined
  /** What the names of its sites begin with. @default 'attn' */
  path?: string | undefined
}

/** Neighbouring rows of x that attend to themselves, and to what came before them, alone. */
export interface AttentionPart {
  tokens: number
  /** As in `AttentionInputs`, of this part. @default nothing */
  bias?: Tensor | undefined
  remember?: Remember | undefined
}

/** Keys and values [batch, kvHeads, keys, headSize] with those of earlier tokens before them. */
export type Remember = (keys: Tensor, values: Tensor) => { keys: Tensor; values: Tensor }

/** What a forward takes beside x. */
export interface AttentionInputs {
  /** The sequence that keys and values are made of, [.., keys, in]. @default x */
  from?: Tensor | undefined
  /** Bool, true where a query may see a key; broadcasts to [batch, heads, queries, keys]. Each query needs one. @default all */
  mask?: Tensor | undefined
  /** Added to the scores; broadcasts to the same. @default nothing */
  bias?: Tensor | undefined
  /** Cosines and sines of the positions of x, each [queries, headSize / 2]. @default no rotation */
  rotary?: { cos: Tensor; sin: Tensor } | undefined
  /** @default keys and values as they are */
  remember?: Remember | undefined
  /** Sequences that stand in x one after the other; their tokens add up to those of x. Without a mask. @default one */
  parts?: readonly AttentionPart[] | undefined
  at?: Sites | undefined
}

/** Sites in the order of a forward; those of rotation only where there is one. */
const beforeRotation = ['q', 'k', 'v'] as const
const rotated = ['q.rope', 'k.rope'] as const
const behind = ['scores', 'probs', 'heads', 'out'] as const

export class Attention implements ResourceHolder {
  readonly weights: AttentionWeights
  readonly shape: AttentionShape
  private readonly path: string

  constructor(weights: AttentionWeights, shape: AttentionShape) {
    this.weights = weights
    this.shape = shape
    this.path = shape.path ?? 'attn'
  }

  /** Names of its sites, in the order that a forward visits them. */
  static sites(path: string, { rotary = false }: { rotary?: boolean } = {}): string[] {
    return [...beforeRotation, ...(rotary ? rotated : []), ...behind].map((site) => `${path}/${site}`)
  }

  /**
   * x [.., queries, in] -> [.., queries, out], with one leading axis or none.
   *
   * @throws ShapeError where shapes do not fit.
   * @example
   * new Attention({ q, k, v, o }, { heads: 8, kvHeads: 2, headSize: 32, causal: true }).forward(x, { rotary })
   * new Attention({ q, k, v, o }, { heads: 8, headSize: 32 }).forward(x, { from: encoded, mask }) // cross attention
   */
  forward(x: Tensor, inputs: AttentionInputs = {}): Tensor {
    return scope(() => this.project(this.mix(x, inputs), inputs.at))
  }

  /** What the heads make of x, side by side: [.., queries, heads * headSize]. */
  mix(x: Tensor, { from = x, mask, bias, rotary, remember, parts, at }: AttentionInputs = {}): Tensor {
    const { heads, kvHeads = heads, headSize } = this.shape
    const { q, k, v } = this.weights
    if (x.rank < 2 || x.rank > 3 || from.rank !== x.rank)
      throw new ShapeError(
        `${this.path}: needs [tokens, in] or [batch, tokens, in], got ${showShape(x.shape)} and keys of ${showShape(from.shape)}`,
      )
    const byHead = (y: Tensor, count: number): Tensor =>
      y.reshape([y.rank === 3 ? y.extent(0) : 1, y.extent(-2), count, headSize]).transpose(1, 2)
    const turned = (y: Tensor, site: string) =>
      rotary ? this.visit(at, site, y.rotary(rotary.cos, rotary.sin)) : y
    const plainQueries = byHead(this.visit(at, 'q', q.forward(x)), heads)
    const plainKeys = byHead(this.visit(at, 'k', k.forward(from)), kvHeads)
    const values = byHead(this.visit(at, 'v', v.forward(from)), kvHeads)
    const queries = turned(plainQueries, 'q.rope')
    const keys = turned(plainKeys, 'k.rope')
    const whole = { bias: mask ? hiding(mask, bias, x) : bias, remember }
    const mixed = parts
      ? concat(
          partsOf([queries, keys, values], parts).map(([part, ...rows]) => this.attend(rows, part, at)),
          1,
        )
      : this.attend([queries, keys, values], whole, at)
    return this.visit(at, 'heads', mixed.reshape([...x.shape.slice(0, -1), heads * headSize]))
  }

  /** q [batch, heads, queries, headSize], k and v [batch, kvHeads, keys, headSize] -> [batch, queries, heads, headSize] */
  private attend(
    [queries, keys, values]: Rows,
    { bias, remember }: Omit<AttentionPart, 'tokens'>,
    at?: Sites,
  ) {
    const all = remember ? remember(keys, values) : { keys, values }
    const { headSize, causal = false } = this.shape
    const options = { scale: headSize ** -0.5, causal, bias }
    const inner = { scores: 'scores', probabilities: 'probs' } as const
    const asked = anyAsked(
      at,
      Object.values(inner).map((site) => `${this.path}/${site}`),
    )
    const mixed = asked
      ? explicitAttention(queries, all.keys, all.values, {
          ...options,
          at: (what, y) => this.visit(at, inner[what], y),
        })
      : attention(queries, all.keys, all.values, options)
    return mixed.transpose(1, 2)
  }

  /** The output of what `mix` gave. */
  project(mixed: Tensor, at?: Sites): Tensor {
    return this.visit(at, 'out', this.weights.o.forward(mixed))
  }

  private visit(at: Sites | undefined, site: string, x: Tensor): Tensor {
    return at ? visit(at, `${this.path}/${site}`, x) : x
  }

  resources(): Iterable<unknown> {
    return Object.values(this.weights)
  }
}

/** The bias with minus infinity where the mask hides a key. */
const hiding = (mask: Tensor, bias: Tensor | undefined, { dtype }: Tensor): Tensor =>
  mask.where(bias ?? zeros([], dtype), Number.NEGATIVE_INFINITY)

/** Queries, keys and values. */
type Rows = [Tensor, Tensor, Tensor]

/** The rows [batch, heads, tokens, headSize] of each part. */
function partsOf(all: Rows, parts: readonly AttentionPart[]): [AttentionPart, ...Rows][] {
  const sizes = parts.map(({ tokens }) => tokens)
  const [queries, keys, values] = all.map((x) => split(x, sizes, 2))
  return parts.map((part, i) => [part, queries![i]!, keys![i]!, values![i]!])
}
