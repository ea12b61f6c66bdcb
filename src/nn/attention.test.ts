import { describe, expect, test } from 'vitest'
import { gradientCheck, inputsOf } from '../tensor/autodiff/gradient_check.suite.ts'
import { exactTensor, expectNear, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { ShapeError } from '../tensor/errors.ts'
import { concat, type Tensor, tensor } from '../tensor/index.ts'
import { Attention, type AttentionInputs, type AttentionShape } from './attention.ts'
import { Linear } from './linear.ts'
import { denseSource } from './weight_source.ts'

const [batch, queries, keys, width, other, headSize] = [2, 3, 5, 5, 7, 4]

/** Shapes of x, of the other sequence, of the weights q, k, v, o and their biases. */
function shapesOf({ heads, kvHeads = heads }: AttentionShape, from: number): number[][] {
  return [
    [heads * headSize, width],
    [kvHeads * headSize, from],
    [kvHeads * headSize, from],
    [width, heads * headSize],
    [heads * headSize],
    [kvHeads * headSize],
    [kvHeads * headSize],
    [width],
  ]
}
function layerOf(shape: AttentionShape, [q, k, v, o, ...biases]: readonly Tensor[]): Attention {
  const linear = (name: string, weight: Tensor, i: number) =>
    new Linear(name, denseSource(weight.mul(0.3)), biases[i])
  return new Attention(
    { q: linear('q', q!, 0), k: linear('k', k!, 1), v: linear('v', v!, 2), o: linear('o', o!, 3) },
    shape,
  )
}

/** The definition, query by query and head by head, in plain numbers. */
function slow(layer: Attention, x: Tensor, { from = x, mask, bias, rotary }: AttentionInputs = {}): number[] {
  const { heads, kvHeads = heads, causal = false } = layer.shape
  const rowsOf = (y: Tensor) =>
    Array.from({ length: y.extent(0) }, (_, b) =>
      Array.from({ length: y.extent(1) }, (_, t) => valuesOf(y.select(0, b).select(0, t))),
    )
  const product = (row: readonly number[], { source, bias }: Linear) => {
    const [weight, [out, inputs]] = [valuesOf(source.dense()), source.shape]
    const added = bias ? valuesOf(bias) : []
    return Array.from({ length: out }, (_, j) =>
      row.reduce((sum, value, i) => sum + value * weight[j * inputs + i]!, added[j] ?? 0),
    )
  }
  const head = (row: readonly number[], h: number) => row.slice(h * headSize, (h + 1) * headSize)
  const turn = (row: readonly number[], t: number) => {
    if (!rotary) return row
    const half = headSize / 2
    const [cos, sin] = [rotary.cos, rotary.sin].map((table) => valuesOf(table.select(0, t)))
    return row.map((value, i) =>
      i < half
        ? value * cos![i]! - row[i + half]! * sin![i]!
        : value * cos![i - half]! + row[i - half]! * sin![i - half]!,
    )
  }
  const { q, k, v, o } = layer.weights
  const [xs, others] = [rowsOf(x), rowsOf(from)]
  const wide = [x.extent(0), heads, x.extent(1), from.extent(1)]
  const at = (y: Tensor | undefined, index: readonly number[], fallback: number) =>
    y ? valuesOf(y.expand(wide))[index.reduce((sum, i, axis) => sum * wide[axis]! + i, 0)]! : fallback
  return xs.flatMap((rows, b) =>
    rows.flatMap((row, i) => {
      const mixed = Array.from({ length: heads }, (_, h) => {
        const kv = Math.floor((h * kvHeads) / heads)
        const query = turn(head(product(row, q), h), i)
        const scores = others[b]!.map((source, j) => {
          const hidden =
            at(mask, [b, h, i, j], 1) === 0 || (causal && j > i + others[b]!.length - rows.length)
          if (hidden) return -Infinity
          const key = turn(head(product(source, k), kv), j)
          const dot = query.reduce((sum, value, d) => sum + value * key[d]!, 0)
          return dot / Math.sqrt(headSize) + at(bias, [b, h, i, j], 0)
        })
        const weights = scores.map(Math.exp)
        const total = weights.reduce((a, c) => a + c)
        return Array.from({ length: headSize }, (_, d) =>
          weights.reduce((sum, w, j) => sum + (w / total) * head(product(others[b]![j]!, v), kv)[d]!, 0),
        )
      })
      return product(mixed.flat(), o)
    }),
  )
}

const rotary = () => {
  const angles = exactTensor([queries, headSize / 2], 'f64', 5)
  return { cos: angles.cos(), sin: angles.sin() }
}
const mask = () =>
  tensor(
    Array.from({ length: batch * queries * keys }, (_, i) => Number(i % 3 !== 1 || i % keys === 0)),
    [batch, 1, queries, keys],
    'bool',
  )
interface Case {
  shape: AttentionShape
  inputs: () => AttentionInputs
  cross?: boolean
}
const cases: Record<string, Case> = {
  'causal, with rotary positions and shared key heads': {
    shape: { heads: 4, kvHeads: 2, headSize, causal: true },
    inputs: () => ({ rotary: rotary() }),
  },
  'in both directions, with a bias for each head': {
    shape: { heads: 3, headSize },
    inputs: () => ({ bias: exactTensor([3, 1, queries], 'f64', 9) }),
  },
  'to another sequence, with a mask and a bias': {
    shape: { heads: 4, kvHeads: 1, headSize },
    inputs: () => ({ mask: mask(), bias: exactTensor([keys], 'f64', 9) }),
    cross: true,
  },
  'causal to a longer sequence, with a mask': {
    shape: { heads: 2, headSize, causal: true },
    inputs: () => ({ mask: mask() }),
    cross: true,
  },
}
describe.each(Object.entries(cases))('%s', (_, { shape, inputs, cross }) => {
  const made = () => {
    const sequences = cross
      ? [
          [batch, queries, width],
          [batch, keys, other],
        ]
      : [[batch, queries, width]]
    return inputsOf(...sequences, ...shapesOf(shape, cross ? other : width))
  }
  const run = (tensors: readonly Tensor[]) => {
    const [x, ...rest] = tensors
    const [from, weights] = cross ? [rest[0], rest.slice(1)] : [undefined, rest]
    return { x: x!, layer: layerOf(shape, weights), given: { ...inputs(), from } }
  }
  test('it is its definition', () => {
    onNative(() => {
      const { x, layer, given } = run(made())
      const found = layer.forward(x, given)
      expect(found.shape).toEqual([batch, queries, width])
      // Sums of tens of products of numbers up to 10.
      expectNear(found, slow(layer, x, given), { units: 1024, scale: 10 })
    })
  })
  test('gradients of sequences, weights and biases are those of differences', () => {
    onNative(() =>
      gradientCheck((...tensors) => {
        const { x, layer, given } = run(tensors)
        return layer.forward(x, given)
      }, made()),
    )
  })
  test('it visits its sites in order, and one without the axis of the batch is one of a batch', () => {
    onNative(() => {
      const { x, layer, given } = run(made())
      const seen: string[] = []
      const plain = layer.forward(x, given)
      const watched = layer.forward(x, { ...given, at: (site) => () => void seen.push(site) })
      expect(seen).toEqual(Attention.sites('attn', { rotary: 'rotary' in given }))
      expectNear(watched, valuesOf(plain), { units: 64, scale: 8 })
      const first = (y: Tensor | undefined) => (y && y.rank === 4 ? y.slice(0, 0, 1) : y)
      const alone = layer.forward(x.select(0, 0), {
        ...given,
        from: given.from?.select(0, 0),
        mask: first(given.mask),
      })
      expect(alone.shape).toEqual([queries, width])
      expectNear(alone, valuesOf(plain.select(0, 0)), { units: 64, scale: 8 })
    })
  })
})
test('gradients of masks and biases: a bias has one, on what the mask leaves', () => {
  onNative(() => {
    const shape = { heads: 2, headSize }
    const [x, from, bias, ...weights] = inputsOf(
      [batch, queries, width],
      [batch, keys, other],
      [batch, 2, queries, keys],
      ...shapesOf(shape, other),
    )
    gradientCheck(
      (bias) => layerOf(shape, weights).forward(x!, { from: from!, bias: bias!, mask: mask() }),
      [bias!],
    )
  })
})
test('what remembers earlier keys and values makes tokens one by one the same as all at once', () => {
  onNative(() => {
    const shape = { heads: 4, kvHeads: 2, headSize, causal: true }
    const [x, ...weights] = inputsOf([1, queries, width], ...shapesOf(shape, width)) as [Tensor, ...Tensor[]]
    const layer = layerOf(shape, weights)
    let [allKeys, allValues]: (Tensor | undefined)[] = []
    const remember = (keys: Tensor, values: Tensor) => {
      allKeys = allKeys ? concat([allKeys, keys], 2) : keys
      allValues = allValues ? concat([allValues, values], 2) : values
      return { keys: allKeys, values: allValues }
    }
    const steps = [0, 1, 2].map((t) => layer.mix(x.slice(1, t, t + 1), { remember }))
    expectNear(concat(steps, 1), valuesOf(layer.mix(x)), { units: 64, scale: 8 })
  })
})
test('sequences that do not fit are refused', () => {
  onNative(() => {
    const shape = { heads: 2, headSize }
    const [x, ...weights] = inputsOf([batch, queries, width], ...shapesOf(shape, width)) as [
      Tensor,
      ...Tensor[],
    ]
    const layer = layerOf(shape, weights)
    expect(() => layer.forward(x.select(0, 0).select(0, 0))).toThrow(ShapeError)
    expect(() => layer.forward(x, { from: x.select(0, 0) })).toThrow(/attn: needs \[tokens, in\]/)
  })
})
describe('parts', () => {
  const shape = { heads: 4, kvHeads: 2, headSize, causal: true }
  const made = () => inputsOf([8, width], ...shapesOf(shape, width)) as [Tensor, ...Tensor[]]
  test('each attends to itself alone, with its bias and what it remembers', () => {
    onNative(() => {
      const [x, ...weights] = made()
      const layer = layerOf(shape, weights)
      const angles = exactTensor([8, headSize / 2], 'f64', 5)
      const rotary = (start: number, end: number) => ({
        cos: angles.slice(0, start, end).cos(),
        sin: angles.slice(0, start, end).sin(),
      })
      const [keys, values] = [22, 23].map((seed) => exactTensor([1, 2, 2, headSize], 'f64', seed))
      const remember = (newer: Tensor, newest: Tensor) => ({
        keys: concat([keys!, newer], 2),
        values: concat([values!, newest], 2),
      })
      const parts = [
        { tokens: 3, remember },
        { tokens: 1 },
        { tokens: 4, bias: exactTensor([4, 4], 'f64', 21) },
      ]
      const found = layer.forward(x, { parts, rotary: rotary(0, 8) })
      let start = 0
      const wanted = parts.map(({ tokens, ...inputs }) => {
        const [from, to] = [start, start + tokens]
        start = to
        return layer.forward(x.slice(0, from, to), { ...inputs, rotary: rotary(from, to) })
      })
      expectNear(found, valuesOf(concat(wanted)), { units: 64, scale: 8 })
    })
  })
  test('tokens that do not add up to those of x are refused', () => {
    onNative(() => {
      const [x, ...weights] = made()
      for (const sizes of [[3, 4], [3, 6], []])
        expect(() =>
          layerOf(shape, weights).forward(x, { parts: sizes.map((tokens) => ({ tokens })) }),
        ).toThrow(ShapeError)
    })
  })
})
