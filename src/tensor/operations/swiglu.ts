/** The gate of SwiGLU (Shazeer 2020, arXiv:2002.05202). */
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { broadcast } from './operand.ts'

const swigluGradientOperation: Operation<[Tensor, Tensor, Tensor], object, readonly Tensor[]> = {
  name: 'swigluGradient',
  forward: (kernels, [gate, up, dy]) =>
    kernels
      .swigluGradient(gate.handle, up.handle, dy.handle)
      .map((handle) => new Tensor(kernels, handle, gate.dtype, gate.shape)),
}

const swigluOperation: Operation<[Tensor, Tensor], object, Tensor> = {
  name: 'swiglu',
  forward(kernels, [gate, up]) {
    needCompute(gate, 'swiglu')
    return new Tensor(kernels, kernels.swiglu(gate.handle, up.handle), gate.dtype, gate.shape)
  },
  saves: () => ({ inputs: [0, 1] }),
  backward({ inputs: [gate, up], needs, gradient }) {
    const found = apply(swigluGradientOperation, [gate, up, gradient], {})
    return found.map((x, i) => (needs[i] ? x : undefined))
  },
}

/**
 * silu(gate) * up in one pass, and both gradients in one; operands broadcast and share one number type.
 *
 * @example const hidden = swiglu(linear(x, gateWeight), linear(x, upWeight))
 */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return scope(() => apply(swigluOperation, broadcast('swiglu', gate, up), {}))
}
