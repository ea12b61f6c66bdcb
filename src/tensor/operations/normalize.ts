/** Softmax along any axis, and the norms of the last axis. */
import { ShapeError } from '../errors.ts'
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { alongAxis } from './axes.ts'
import { needSame } from './operand.ts'

const softmaxGradientOperation: Operation<[Tensor, Tensor], object, Tensor> = {
  name: 'softmaxGradient',
  forward: (kernels, [y, dy]) =>
    new Tensor(kernels, kernels.softmaxGradient(y.handle, dy.handle), y.dtype, y.shape),
}

const softmaxOperation: Operation<[Tensor], object, Tensor> = {
  name: 'softmax',
  forward(kernels, [x]) {
    needCompute(x, 'softmax')
    return new Tensor(kernels, kernels.softmax(x.handle), x.dtype, x.shape)
  },
  saves: () => ({ outputs: [0] }),
  backward: ({ output, gradient }) => [apply(softmaxGradientOperation, [output, gradient], {})],
}

const logSoftmaxGradientOperation: Operation<[Tensor, Tensor], object, Tensor> = {
  name: 'logSoftmaxGradient',
  forward: (kernels, [y, dy]) =>
    new Tensor(kernels, kernels.logSoftmaxGradient(y.handle, dy.handle), y.dtype, y.shape),
}

const logSoftmaxOperation: Operation<[Tensor], object, Tensor> = {
  name: 'logSoftmax',
  forward(kernels, [x]) {
    needCompute(x, 'logSoftmax')
    return new Tensor(kernels, kernels.logSoftmax(x.handle), x.dtype, x.shape)
  },
  saves: () => ({ outputs: [0] }),
  backward: ({ output, gradient }) => [apply(logSoftmaxGradientOperation, [output, gradient], {})],
}

/** exp(x) / sum(exp(x)) along an axis; NaN where a whole row is minus infinity. */
export function softmax(x: Tensor, axis = -1): Tensor {
  return scope(() => alongAxis(x, axis, 'softmax', (moved) => apply(softmaxOperation, [moved], {})))
}

/** log(softmax(x)) without the detour over small probabilities. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return scope(() => alongAxis(x, axis, 'logSoftmax', (moved) => apply(logSoftmaxOperation, [moved], {})))
}

interface NormalizeOptions {
  epsilon: number
}

const rmsNormGradientOperation: Operation<
  [Tensor, Tensor | undefined, Tensor],
  NormalizeOptions,
  readonly [Tensor, Tensor]
> = {
  name: 'rmsNormGradient',
  forward(kernels, [x, weight, dy], { epsilon }) {
    const [dx, dweight] = kernels.rmsNormGradient(x.handle, weight?.handle, dy.handle, epsilon)
    return [
      new Tensor(kernels, dx, x.dtype, x.shape),
      new Tensor(kernels, dweight, x.dtype, x.shape.slice(-1)),
    ]
  },
}

const rmsNormOperation: Operation<[Tensor, Tensor | undefined], NormalizeOptions, Tensor> = {
  name: 'rmsNorm',
  forward(kernels, [x, weight], { epsilon }) {
    checkNorm('rmsNorm', x, weight)
    return new Tensor(kernels, kernels.rmsNorm(x.handle, weight?.handle, epsilon), x.dtype, x.shape)
  },
  saves: () => ({ inputs: [0, 1] }),
  backward({ inputs: [x, weight], options, needs, gradient }) {
    const [dx, dweight] = apply(rmsNormGradientOperation, [x, weight, gradient], options)
    return [dx, needs[1] ? dweight : undefined]
  },
}

/** x / sqrt(mean(x^2) + epsilon) * weight over the last axis; weight [dim] of x's number type. */
export function rmsNorm(x: Tensor, weight: Tensor | undefined, epsilon: number): Tensor {
  return apply(rmsNormOperation, [x, weight], { epsilon })
}

const layerNormGradientOperation: Operation<
  [Tensor, Tensor | undefined, Tensor],
  NormalizeOptions,
  readonly [Tensor, Tensor, Tensor]
> = {
  name: 'layerNormGradient',
  forward(kernels, [x, weight, dy], { epsilon }) {
    const [dx, ...parameters] = kernels.layerNormGradient(x.handle, weight?.handle, dy.handle, epsilon)
    const [dweight, dbias] = parameters.map(
      (handle) => new Tensor(kernels, handle, x.dtype, x.shape.slice(-1)),
    )
    return [new Tensor(kernels, dx, x.dtype, x.shape), dweight!, dbias!]
  },
}

const layerNormOperation: Operation<
  [Tensor, Tensor | undefined, Tensor | undefined],
  NormalizeOptions,
  Tensor
> = {
  name: 'layerNorm',
  forward(kernels, [x, weight, bias], { epsilon }) {
    checkNorm('layerNorm', x, weight, bias)
    const handle = kernels.layerNorm(x.handle, weight?.handle, bias?.handle, epsilon)
    return new Tensor(kernels, handle, x.dtype, x.shape)
  },
  saves: () => ({ inputs: [0, 1] }),
  backward({ inputs: [x, weight], options, needs, gradient }) {
    const [dx, dweight, dbias] = apply(layerNormGradientOperation, [x, weight, gradient], options)
    return [dx, needs[1] ? dweight : undefined, needs[2] ? dbias : undefined]
  },
}

/** (x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis; weight and bias [dim]. */
export function layerNorm(
  x: Tensor,
  weight: Tensor | undefined,
  bias: Tensor | undefined,
  epsilon: number,
): Tensor {
  return apply(layerNormOperation, [x, weight, bias], { epsilon })
}

function checkNorm(name: string, x: Tensor, ...parameters: (Tensor | undefined)[]): void {
  needCompute(x, name)
  if (x.rank === 0) throw new ShapeError(`${name}: needs at least one axis`)
  for (const parameter of parameters) {
    if (!parameter) continue
    needSame(name, x, parameter)
    if (parameter.rank !== 1 || parameter.size !== x.extent(-1)) {
      throw new ShapeError(
        `${name}: ${showShape(x.shape)} needs a weight and bias of shape [${x.extent(-1)}], got ${showShape(parameter.shape)}`,
      )
    }
  }
}
