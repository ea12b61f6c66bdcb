import { expect } from 'vitest'
import { attention, cast, explicitAttention, explicitPaths, type Tensor, tensor, zeros } from '../index.ts'
import { type Claim, computing, exactTensor, expectNear, expectShape, valuesOf } from './claims.suite.ts'

interface Sizes {
  batch: number
  heads: number
  kvHeads: number
  queries: number
  keys: number
  dim: number
}
const cases: Sizes[] = [
  { batch: 1, heads: 1, kvHeads: 1, queries: 1, keys: 1, dim: 1 },
  { batch: 2, heads: 4, kvHeads: 2, queries: 7, keys: 7, dim: 8 },
  { batch: 1, heads: 6, kvHeads: 1, queries: 1, keys: 33, dim: 16 },
  { batch: 2, heads: 3, kvHeads: 3, queries: 5, keys: 9, dim: 5 },
  { batch: 1, heads: 6, kvHeads: 2, queries: 1, keys: 300, dim: 72 },
  { batch: 2, heads: 2, kvHeads: 1, queries: 16, keys: 259, dim: 20 },
  { batch: 1, heads: 2, kvHeads: 1, queries: 67, keys: 131, dim: 64 },
]

/** The definition in plain loops; bias [batch * heads, queries, keys] or nothing. */
function definition(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  s: Sizes,
  scale: number,
  causal: boolean,
  bias?: Tensor,
) {
  const [qs, ks, vs, extra] = [valuesOf(q), valuesOf(k), valuesOf(v), bias && valuesOf(bias)]
  const out: number[] = []
  for (let head = 0; head < s.batch * s.heads; head++) {
    const [b, h] = [Math.floor(head / s.heads), head % s.heads]
    const kv = b * s.kvHeads + Math.floor((h * s.kvHeads) / s.heads)
    for (let i = 0; i < s.queries; i++) {
      const weights = Array.from({ length: s.keys }, (_, j) => {
        if (causal && j > i + s.keys - s.queries) return 0
        let dot = 0
        for (let d = 0; d < s.dim; d++) {
          dot += qs[(head * s.queries + i) * s.dim + d]! * ks[(kv * s.keys + j) * s.dim + d]!
        }
        return Math.exp(dot * scale + (extra?.[(head * s.queries + i) * s.keys + j] ?? 0))
      })
      const total = weights.reduce((a, x) => a + x, 0)
      for (let d = 0; d < s.dim; d++) {
        out.push(weights.reduce((a, w, j) => a + (w / total) * vs[(kv * s.keys + j) * s.dim + d]!, 0))
      }
    }
  }
  return out
}

function inputs({ batch, heads, kvHeads, queries, keys, dim }: Sizes, dtype: (typeof computing)[number]) {
  return [
    exactTensor([batch, heads, queries, dim], dtype, 1),
    exactTensor([batch, kvHeads, keys, dim], dtype, 2),
    exactTensor([batch, kvHeads, keys, dim], dtype, 3),
  ] as [Tensor, Tensor, Tensor]
}

export function attentionClaims(claim: Claim): void {
  claim('f32: of up to 16 queries each has the bits that it has alone', () => {
    const sizes = { batch: 1, heads: 4, kvHeads: 2, queries: 16, keys: 150, dim: 24 }
    const [q, k, v] = inputs(sizes, 'f32')
    const together = attention(q, k, v, { causal: true })
    for (let query = 0; query < 16; query++) {
      const seen = 150 - 15 + query
      const [keys, values] = [k.slice(2, 0, seen), v.slice(2, 0, seen)]
      const alone = attention(q.slice(2, query, query + 1), keys, values, { causal: true })
      expect(alone.contiguous().bytes()).toEqual(
        together
          .slice(2, query, query + 1)
          .contiguous()
          .bytes(),
      )
    }
  })
  for (const dtype of computing) {
    for (const sizes of cases) {
      const { batch, heads, kvHeads, queries, keys, dim } = sizes
      claim(
        `${dtype}: ${heads}/${kvHeads} heads, ${queries} queries, ${keys} keys of ${dim}: both paths`,
        () => {
          const [q, k, v] = inputs(sizes, dtype)
          const bias = exactTensor([1, heads, queries, keys], dtype, 4)
          const full = bias.expand([batch, heads, queries, keys])
          // Scores reach 4 dim scale; exp carries their rounding on, and values stay below 2.
          const tolerance = { units: 16 + 4 * Math.sqrt(dim), scale: 2 }
          for (const causal of [false, true]) {
            const want = definition(q, k, v, sizes, 1 / Math.sqrt(dim), causal)
            expectNear(attention(q, k, v, { causal }), want, tolerance)
            expectNear(explicitAttention(q, k, v, { causal }), want, tolerance)
          }
          const want = definition(q, k, v, sizes, 0.125, true, full)
          expectNear(attention(q, k, v, { scale: 0.125, causal: true, bias }), want, tolerance)
          expectNear(explicitAttention(q, k, v, { scale: 0.125, causal: true, bias }), want, tolerance)
        },
      )
    }
    claim(`${dtype}: a bias of minus infinity hides keys, as if they were not there`, () => {
      const sizes = { batch: 2, heads: 2, kvHeads: 1, queries: 3, keys: 6, dim: 8 }
      const [q, k, v] = inputs(sizes, dtype)
      const hidden = [0, 0, 0, 0, -Infinity, -Infinity]
      const bias = tensor(hidden, [6], dtype)
      const [fewK, fewV] = [k.slice(2, 0, 4), v.slice(2, 0, 4)]
      const want = valuesOf(attention(q, fewK, fewV))
      expectNear(attention(q, k, v, { bias }), want, { units: 4, scale: 2 })
      expectNear(explicitAttention(q, k, v, { bias }), want, { units: 4, scale: 2 })
    })
  }
  claim('views of [batch, tokens, heads, dim] projections need no copy', () => {
    const project = (heads: number, seed: number) =>
      exactTensor([2, 9, heads * 8], 'f32', seed).reshape([2, 9, heads, 8])
    const [q, k, v] = [project(4, 1), project(2, 2), project(2, 3)].map((x) => x.transpose(1, 2)) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const packed = [q, k, v].map((x) => x.contiguous()) as [Tensor, Tensor, Tensor]
    const result = attention(q, k, v, { causal: true })
    expectShape(result, [2, 4, 9, 8])
    expect(result.transpose(1, 2).isContiguous).toBe(true)
    expectNear(result, valuesOf(attention(...packed, { causal: true })), { units: 0 })
  })
  claim('decoding token by token gives what the whole sequence gives', () => {
    const sizes = { batch: 1, heads: 2, kvHeads: 2, queries: 5, keys: 5, dim: 8 }
    const [q, k, v] = inputs(sizes, 'f64')
    const whole = attention(q, k, v, { causal: true })
    for (let t = 0; t < 5; t++) {
      const step = attention(q.slice(2, t, t + 1), k.slice(2, 0, t + 1), v.slice(2, 0, t + 1), {
        causal: true,
      })
      expectNear(step, valuesOf(whole.slice(2, t, t + 1)), { units: 8, scale: 2 })
    }
  })
  claim('the explicit path hands out scores and probabilities, and takes replacements', () => {
    const sizes = { batch: 1, heads: 2, kvHeads: 1, queries: 3, keys: 4, dim: 4 }
    const [q, k, v] = inputs(sizes, 'f32')
    const seen: Record<string, Tensor> = {}
    explicitAttention(q, k, v, {
      causal: true,
      at(site, x) {
        seen[site] = x
        return undefined
      },
    })
    expectShape(seen.scores!, [1, 2, 3, 4])
    expectNear(seen.probabilities!, valuesOf(seen.scores!.softmax()), { units: 0 })
    expect(valuesOf(seen.probabilities!).filter((p) => p === 0).length).toBe(2 * 3)
    const first = tensor([1, 0, 0, 0]).expand([1, 2, 3, 4])
    const picked = explicitAttention(q, k, v, {
      at: (site) => (site === 'probabilities' ? first : undefined),
    })
    expectNear(picked, valuesOf(v.slice(2, 0, 1).expand([1, 1, 3, 4]).expand([1, 2, 3, 4])), { units: 0 })
    expect(() => explicitAttention(q, k, v, { at: () => zeros([2]) })).toThrow(
      /scores may be replaced by f32/,
    )
  })
  claim('explicitPaths forces the explicit path, bit for bit', () => {
    const sizes = { batch: 1, heads: 4, kvHeads: 2, queries: 9, keys: 9, dim: 16 }
    const [q, k, v] = inputs(sizes, 'bf16')
    const forced = explicitPaths(() => attention(q, k, v, { causal: true }))
    expect(forced.bytes()).toEqual(explicitAttention(q, k, v, { causal: true }).bytes())
  })
  claim('values may have another width than keys', () => {
    const sizes = { batch: 2, heads: 2, kvHeads: 1, queries: 3, keys: 4, dim: 6 }
    const [q, k, v] = inputs(sizes, 'f32')
    const whole = attention(q, k, v, { causal: true })
    for (const path of [attention, explicitAttention]) {
      const part = path(q, k, v.slice(3, 1, 4), { causal: true })
      expectShape(part, [2, 2, 3, 3])
      expectNear(part, valuesOf(whole.slice(3, 1, 4)), { units: 8, scale: 2 })
    }
  })
  claim('a query that sees no key gives NaN and leaves the others alone', () => {
    const sizes = { batch: 1, heads: 1, kvHeads: 1, queries: 2, keys: 3, dim: 2 }
    const [q, k, v] = inputs(sizes, 'f32')
    const bias = tensor([-Infinity, 0], [2, 1])
    const rest = valuesOf(attention(q, k, v)).slice(2)
    for (const path of [attention, explicitAttention]) {
      expectNear(path(q, k, v, { bias }), [NaN, NaN, ...rest], { units: 8, scale: 2 })
    }
  })
  claim('keys without numbers all count alike', () => {
    const values = tensor(Array.from({ length: 20 }, (_, i) => i)).reshape([1, 1, 20, 1])
    for (const queries of [1, 20]) {
      const seen = attention(zeros([1, 2, queries, 0]), zeros([1, 1, 20, 0]), values, {
        causal: true,
        scale: 1,
      })
      expectShape(seen, [1, 2, queries, 1])
      expectNear(seen.slice(2, queries - 1), [9.5, 9.5], { units: 8 })
    }
  })
  claim('no queries give no rows', () => {
    const k = zeros([2, 1, 3, 4])
    expectShape(attention(zeros([2, 2, 0, 4]), k, k), [2, 2, 0, 4])
    expectShape(attention(zeros([0, 2, 3, 4]), zeros([0, 1, 3, 4]), zeros([0, 1, 3, 4])), [0, 2, 3, 4])
  })
  claim('shapes that do not fit are refused', () => {
    const q = zeros([1, 4, 2, 8])
    expect(() => attention(q, zeros([1, 3, 2, 8]), zeros([1, 3, 2, 8]))).toThrow(/kvHeads a divisor of heads/)
    expect(() => attention(q, zeros([1, 2, 1, 8]), zeros([1, 2, 1, 8]), { causal: true })).toThrow(
      /as many keys/,
    )
    expect(() => attention(q, zeros([1, 2, 2, 8]), zeros([1, 2, 2, 8]), { bias: zeros([3, 2]) })).toThrow(
      /bias/,
    )
    expect(() => attention(q, cast(q, 'f64'), cast(q, 'f64'))).toThrow(/one number type/)
  })
}
