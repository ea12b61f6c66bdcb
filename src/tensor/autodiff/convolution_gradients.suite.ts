/** Gradients of convolutions, pools and channel norms against central differences. */
import { type Claim, valuesOf } from '../contract/claims.suite.ts'
import * as pare from '../index.ts'
import { conv1d, conv2d, type Tensor } from '../index.ts'
import { gradientCheck, inputsOf } from './gradient_check.suite.ts'

type Body = (...inputs: Tensor[]) => Tensor | readonly Tensor[]
type Case = readonly [body: Body, shapes: readonly pare.Shape[]]

const cases: Record<string, Case> = {
  'conv2d with a bias': [(x, w, b) => conv2d(x!, w!, b, { padding: 1 }), [[2, 4, 3, 2], [3, 3, 3, 2], [3]]],
  'conv2d with stride and uneven padding': [
    (x, w) => conv2d(x!, w!, undefined, { stride: [2, 3], padding: [0, 1, 2, 0] }),
    [
      [1, 5, 6, 2],
      [3, 3, 2, 2],
    ],
  ],
  'conv2d with dilation and groups': [
    (x, w) => conv2d(x!, w!, undefined, { dilation: 2, groups: 2, padding: 1 }),
    [
      [1, 5, 4, 4],
      [6, 2, 2, 2],
    ],
  ],
  'conv2d whose strides leave inputs out': [
    (x, w) => conv2d(x!, w!, undefined, { stride: 3 }),
    [
      [1, 5, 5, 2],
      [3, 1, 1, 2],
    ],
  ],
  'conv2d and relu': [
    (x, w, b) => conv2d(x!, w!, b, { activation: 'relu' }),
    [[1, 3, 3, 2], [2, 2, 2, 2], [2]],
  ],
  'depthwise conv2d': [
    (x, w, b) => conv2d(x!, w!, b, { groups: 5, stride: 2, padding: [0, 1, 1, 1] }),
    [[2, 4, 5, 5], [5, 3, 3, 1], [5]],
  ],
  conv1d: [
    (x, w) => conv1d(x!, w!, undefined, { stride: 2, padding: [2, 0] }),
    [
      [2, 7, 3],
      [2, 3, 3],
    ],
  ],
  maxPool2d: [(x) => pare.maxPool2d(x!, 3, { stride: 2, padding: 1 }), [[1, 5, 4, 3]]],
  averagePool2d: [
    (x) => pare.averagePool2d(x!, [2, 3], { stride: 1, padding: [1, 0, 2, 1] }),
    [[1, 3, 4, 3]],
  ],
  'averagePool2d that counts padding': [
    (x) => pare.averagePool2d(x!, 2, { padding: 1, countPadding: true }),
    [[1, 3, 3, 2]],
  ],
  globalAveragePool: [(x) => pare.globalAveragePool(x!), [[2, 3, 2, 3]]],
  upsampleNearest: [(x) => pare.upsampleNearest(x!, 2), [[2, 2, 3, 2]]],
  batchNorm: [(x, w, b) => pare.batchNorm(x!, w, b, 1e-3).output, [[3, 2, 2, 3], [3], [3]]],
  'batchNorm with relu': [
    (x, w, b) => pare.batchNorm(x!, w, b, 1e-3, { activation: 'relu' }).output,
    [[3, 2, 2, 3], [3], [3]],
  ],
  'batchNorm with a residual': [
    (x, residual, w) => pare.batchNorm(x!, w, undefined, 1e-3, { residual: residual! }).output,
    [[5, 3], [5, 3], [3]],
  ],
  'batchNorm with a residual and relu': [
    (x, residual, w, b) => pare.batchNorm(x!, w, b, 1e-3, { residual: residual!, activation: 'relu' }).output,
    [[3, 2, 2, 3], [3, 2, 2, 3], [3], [3]],
  ],
  'batchNorm without parameters': [(x) => pare.batchNorm(x!, undefined, undefined, 1e-3).output, [[5, 3]]],
  'batchNorm with given statistics': [
    (x, w, b, mean, variance) =>
      pare.batchNormWith(x!, w, b, { mean: mean!, variance: variance!.abs().add(0.5) }, 1e-3),
    [[4, 3], [3], [3], [3], [3]],
  ],
  groupNorm: [(x, w, b) => pare.groupNorm(x!, 2, w, b, 1e-3), [[2, 3, 6], [6], [6]]],
  scaleShift: [(x, w, b) => pare.scaleShift(x!, w!, b!), [[2, 3, 4], [4], [4]]],
}

export function convolutionGradientClaims(claim: Claim): void {
  for (const [name, [body, shapes]] of Object.entries(cases))
    claim(`gradient of ${name}`, () => gradientCheck(body, inputsOf(...shapes)))
  claim('gradient of a convolution of a constant image is that of its weight alone', () => {
    gradientCheck((x, w) => conv2d(x!, w!), inputsOf([1, 3, 3, 2], [2, 2, 2, 2]), { constant: [0] })
  })
  claim('gradient of batch norm is that of its steps written out', () => {
    const [x, weight, bias, sent] = inputsOf([4, 2, 3], [3], [3], [4, 2, 3]) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ]
    const inputs = [x, weight, bias]
    const gradientsOf = (f: () => Tensor) => {
      const { value, pull } = pare.vjp(f, inputs)
      return pull([[value, sent]])
    }
    const fused = gradientsOf(() => pare.batchNorm(x, weight, bias, 1e-3).output)
    const written = () => {
      const centred = x.sub(x.mean([0, 1]))
      return centred
        .mul(centred.square().mean([0, 1]).add(1e-3).rsqrt())
        .mul(weight)
        .add(bias)
    }
    const composed = gradientsOf(written)
    for (const [i, gradient] of fused.entries()) {
      const [found, want] = [valuesOf(gradient), valuesOf(composed[i]!)]
      for (const [at, value] of want.entries())
        if (Math.abs(found[at]! - value) > 1e-12)
          throw new Error(`input ${i} at ${at}: ${found[at]}, ${value}`)
    }
  })
}
