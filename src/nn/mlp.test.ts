import { describe, expect, test } from 'vitest'
import { gradientCheck, inputsOf } from '../tensor/autodiff/gradient_check.suite.ts'
import { exactTensor, expectNear, onNative, valuesOf } from '../tensor/contract/claims.suite.ts'
import { silu, type Tensor } from '../tensor/index.ts'
import { Linear } from './linear.ts'
import { Mlp, type MlpActivation, mlpActivations, SwigluMlp } from './mlp.ts'
import { sitesOf } from './sites.ts'
import { denseSource } from './weight_source.ts'

const [width, intermediate, out] = [5, 7, 3]
const linear = (weight: Tensor, bias?: Tensor) => new Linear('w', denseSource(weight), bias)
const swigluOf = ([gate, up, down]: readonly Tensor[]) =>
  new SwigluMlp({ gate: linear(gate!), up: linear(up!), down: linear(down!) })
const mlpOf = (activation: MlpActivation, [up, down, upBias, downBias]: readonly Tensor[]) =>
  new Mlp({ up: linear(up!, upBias), down: linear(down!, downBias) }, { activation })
const gated = () => inputsOf([2, 3, width], [intermediate, width], [intermediate, width], [out, intermediate])
const plain = () => inputsOf([2, 3, width], [intermediate, width], [out, intermediate], [intermediate], [out])

/** Series of the error function, which converges fast enough for |x| < 6. */
const erf = (x: number) => {
  let [sum, term] = [x, x]
  for (let n = 1; Math.abs(term) > 1e-18; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}
const definitions: Record<MlpActivation, (x: number) => number> = {
  geluErf: (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
  geluTanh: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: (x) => Math.max(0, x),
}

describe('SwiGLU', () => {
  test('it is its definition, in value and gradient', () => {
    onNative(() => {
      const [x, ...weights] = gated() as [Tensor, ...Tensor[]]
      const [gate, up, down] = weights as [Tensor, Tensor, Tensor]
      const wanted = silu(x.linear(gate)).mul(x.linear(up)).linear(down)
      expectNear(swigluOf(weights).forward(x), valuesOf(wanted), { units: 64, scale: 64 })
      gradientCheck((x, ...weights) => swigluOf(weights).forward(x!), gated())
    })
  })
  test('numbers of f32 and bf16 are those of two single operations', () => {
    onNative(() => {
      for (const dtype of ['f32', 'bf16'] as const) {
        const [x, gate, up, down] = [
          exactTensor([9, width], dtype),
          exactTensor([intermediate, width], dtype, 2),
          exactTensor([intermediate, width], dtype, 3),
          exactTensor([out, intermediate], dtype, 4),
        ]
        const wanted = silu(x.linear(gate)).mul(x.linear(up))
        expect(swigluOf([gate, up, down]).activate(x).bytes()).toEqual(wanted.bytes())
      }
    })
  })
  test('it visits its sites in order, and a hook may replace what they hold', () => {
    onNative(() => {
      const [x, ...weights] = gated() as [Tensor, ...Tensor[]]
      const seen: string[] = []
      swigluOf(weights).forward(x, (site) => () => void seen.push(site))
      expect(seen).toEqual(SwigluMlp.sites('mlp'))
      const none = swigluOf(weights).forward(x, sitesOf({ 'mlp/gate': (gate) => gate.mul(0) }))
      expect(valuesOf(none).every((value) => value === 0)).toBe(true)
    })
  })
})
describe.each(Object.keys(mlpActivations) as MlpActivation[])('%s', (activation) => {
  test('it is its definition, in value and gradient', () => {
    onNative(() => {
      const [x, ...weights] = plain() as [Tensor, ...Tensor[]]
      const layer = mlpOf(activation, weights)
      const wide = valuesOf(x.mul(0.5).linear(weights[0]!.mul(0.5), weights[2]))
      const found = mlpOf(activation, [weights[0]!.mul(0.5), ...weights.slice(1)]).activate(x.mul(0.5))
      // The series cancels numbers of the size of exp(x^2 / 2).
      const tolerance = { units: 64, scale: Math.exp(Math.max(...wide.map((x) => (x * x) / 2))) }
      expectNear(found, wide.map(definitions[activation]), tolerance)
      expect(layer.forward(x).shape).toEqual([2, 3, out])
      // ReLU has a corner where an entry is 0: none is nearer than the step of the differences.
      gradientCheck((x, ...weights) => mlpOf(activation, weights).forward(x!), plain())
    })
  })
  test('it visits its sites in order', () => {
    onNative(() => {
      const [x, ...weights] = plain() as [Tensor, ...Tensor[]]
      const seen: string[] = []
      mlpOf(activation, weights).forward(x, (site) => () => void seen.push(site))
      expect(seen).toEqual(Mlp.sites('mlp'))
    })
  })
})
test('GELU with erf and with tanh are two functions', () => {
  onNative(() => {
    const [x, ...weights] = plain() as [Tensor, ...Tensor[]]
    const [exact, near] = (['geluErf', 'geluTanh'] as const).map((kind) =>
      valuesOf(mlpOf(kind, weights).activate(x)),
    )
    const distance = Math.max(...exact!.map((value, i) => Math.abs(value - near![i]!)))
    expect(distance).toBeGreaterThan(1e-6)
    expect(distance).toBeLessThan(1e-3)
  })
})
