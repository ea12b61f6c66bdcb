/** Random shapes, views and geometries: native kernels against the reference loops, in values and gradients. */
import fc from 'fast-check'
import { expect } from 'vitest'
import * as pare from '../index.ts'
import { type DType, referenceKernels, scope, type Tensor, tensor, vjp, withKernels } from '../index.ts'
import { type Claim, exactTensor, expectNear, type Tolerance, valuesOf } from './claims.suite.ts'

/** Whole numbers between two bounds, both possible. */
type Pick = (least: number, most: number) => number

/** Outputs and gradients of one call. */
interface Call {
  body: (...inputs: Tensor[]) => Tensor
  inputs: (dtype: DType) => Tensor[]
  tolerance?: Tolerance
}

const runs = 60

/** Draws calls until one differs; the seed is fixed, so that a failure stays. */
function sweep(dtypes: readonly DType[], draw: (pick: Pick) => Call | undefined): void {
  const choices = fc.array(fc.nat(9999), { minLength: 48, maxLength: 48 })
  const property = fc.property(choices, fc.constantFrom(...dtypes), (numbers, dtype) => {
    let at = 0
    const call = draw((least, most) => least + (numbers[at++ % numbers.length]! % (most - least + 1)))
    if (call) compare(call, dtype)
  })
  fc.assert(property, { numRuns: runs, seed: 1 })
}

function compare({ body, inputs, tolerance = { units: 0 } }: Call, dtype: DType): void {
  const run = () => {
    const { value, pull } = vjp((given) => body(...given), inputs(dtype))
    return [value, ...pull([[value, exactTensor(value.shape, dtype, 11)]])]
  }
  scope(() => {
    const found = run()
    const wanted = withKernels(referenceKernels(), () =>
      scope(() => run().map((x) => ({ shape: x.shape, values: valuesOf(x) }))),
    )
    for (const [i, { shape, values }] of wanted.entries()) {
      expect(found[i]!.shape).toEqual(shape)
      expectNear(found[i]!, values, tolerance)
    }
  })
}

/** A view with turned axes, a start and a step on each of them, and the shape of what it is a view of. */
function viewOf(shape: readonly number[], pick: Pick) {
  const order = shape.map((_, axis) => axis)
  for (let i = order.length - 1; i > 0; i--) {
    const j = pick(0, i)
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  const cuts = shape.map((extent) => {
    const [start, step, behind] = [pick(0, 2), pick(1, 3), pick(0, 2)]
    const end = start + Math.max(0, (extent - 1) * step + (extent > 0 ? 1 : 0))
    return { start, step, end, extent: end + behind }
  })
  const base: number[] = []
  for (const [place, axis] of order.entries()) base[axis] = cuts[place]!.extent
  return {
    base,
    view: (x: Tensor) =>
      cuts.reduce((y, { start, step, end }, axis) => y.slice(axis, start, end, step), x.permute(order)),
  }
}

export function sweepClaims(claim: Claim): void {
  const operations = [pare.add, pare.sub, pare.mul, pare.maximum, pare.minimum]
  claim('views that broadcast against each other are those of the reference', () =>
    sweep(['f32', 'f64', 'bf16'], (pick) => {
      const shape = Array.from({ length: pick(0, 4) }, () => pick(0, 5))
      const other = shape.map((extent) => (pick(0, 2) === 0 ? 1 : extent)).slice(pick(0, shape.length))
      const [a, b] = [viewOf(shape, pick), viewOf(other, pick)]
      const operation = operations[pick(0, operations.length - 1)]!
      const swapped = pick(0, 1) === 1
      return {
        body: (x, y) => (swapped ? operation(b.view(y!), a.view(x!)) : operation(a.view(x!), b.view(y!))),
        inputs: (dtype) => [exactTensor(a.base, dtype), exactTensor(b.base, dtype, 2)],
        // Sums of gradients over broadcast axes, in f32 of products of two numbers of 8 bits, are exact there.
        tolerance: { units: 1 },
      }
    }),
  )
  claim('convolutions of any geometry are those of the reference, gradients too', () =>
    sweep(['f32', 'f64', 'bf16'], (pick) => {
      const [groups, inputs, outputs] = [pick(1, 3), pick(1, 9), pick(1, 9)]
      const [height, width, kh, kw] = [pick(1, 9), pick(1, 9), pick(1, 4), pick(1, 4)]
      const padding = [pick(0, 3), pick(0, 3), pick(0, 3), pick(0, 3)] as const
      const [stride, dilation] = [
        [pick(1, 3), pick(1, 3)],
        [pick(1, 3), pick(1, 3)],
      ] as const
      const fits = (extent: number, kernel: number, axis: 0 | 1) =>
        extent + padding[2 * axis]! + padding[2 * axis + 1]! > (kernel - 1) * dilation[axis]
      if (!fits(height, kh, 0) || !fits(width, kw, 1)) return undefined
      const shapes = [
        [pick(1, 2), height, width, groups * inputs],
        [groups * outputs, kh, kw, inputs],
        [groups * outputs],
      ]
      return {
        body: (x, weight, bias) => pare.conv2d(x!, weight!, bias, { stride, padding, dilation, groups }),
        inputs: (dtype) => shapes.map((shape, i) => exactTensor(shape, dtype, i + 1)),
        // Fewer than 2^10 products of two numbers of 8 bits: sums in f32 are exact, and bf16 is rounded once.
        tolerance: { units: 1 },
      }
    }),
  )
  claim('attention of any shape, mask and bias is that of the reference, gradients too', () =>
    sweep(['f32', 'f64'], (pick) => {
      const [batch, kvHeads, group, queries] = [pick(1, 2), pick(1, 3), pick(1, 3), pick(1, 19)]
      const causal = pick(0, 1) === 1
      const keys = causal ? queries + pick(0, 9) : pick(1, 21)
      const [dim, valueDim] = [pick(1, 37), pick(1, 21)]
      const heads = kvHeads * group
      const biasShape = [batch, heads, queries, keys].map((extent) => (pick(0, 1) === 0 ? 1 : extent))
      const [hides, hidden] = [pick(0, 2) === 0, pick(2, 5)]
      // The first key stays in sight of every query.
      const mask = (bias: Tensor) => {
        const seen = Array.from({ length: keys }, (_, key) => Number(key === 0 || key % hidden !== 1))
        return tensor(seen, [keys], 'bool').where(bias, Number.NEGATIVE_INFINITY)
      }
      const shapes = [
        [batch, heads, queries, dim],
        [batch, kvHeads, keys, dim],
        [batch, kvHeads, keys, valueDim],
        biasShape,
      ]
      return {
        body: (q, k, v, bias) => pare.attention(q!, k!, v!, { causal, bias: hides ? mask(bias!) : bias! }),
        inputs: (dtype) => shapes.map((shape, i) => exactTensor(shape, dtype, i + 1)),
        // Sums of some tens of numbers up to 16, whose exponentials turn the errors of scores into relative ones.
        tolerance: { units: 256, scale: 16 },
      }
    }),
  )
}
