/** Matrix products. Operands may be transposed views and are not copied for it; bf16 sums in f32. */
import { OptionError, ShapeError } from '../errors.ts'
import type { Activation } from '../kernels.ts'
import { apply, isRecording, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { broadcastShapes, elementCount, sameShape, showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { cast } from './cast.ts'
import { add, relu, silu } from './elementwise.ts'
import { isExplicit } from './explicit.ts'
import { needSame } from './operand.ts'

/** What happens to the product before it is stored, in this order. */
export interface Epilogue {
  /** One value a column, [n]. */
  bias?: Tensor | undefined
  /** @default 'none' */
  activation?: Activation
  /** Added last; has the shape of the result. */
  residual?: Tensor | undefined
}

/** left [.., m, k], right [.., k, n] with equal leading axes, bias [n], residual [.., m, n]. */
const matmulOperation: Operation<
  [Tensor, Tensor, Tensor | undefined, Tensor | undefined],
  { activation: Activation },
  Tensor
> = {
  name: 'matmul',
  forward(kernels, [left, right, bias, residual], { activation }) {
    needCompute(left, 'matmul')
    for (const other of [right, bias, residual]) if (other) needSame('matmul', left, other)
    const shape = [...left.shape.slice(0, -1), right.shape.at(-1)!]
    if (bias && !sameShape(bias.shape, shape.slice(-1))) {
      throw new ShapeError(`matmul: the bias needs shape [${shape.at(-1)}], got ${showShape(bias.shape)}`)
    }
    if (residual && !sameShape(residual.shape, shape)) {
      throw new ShapeError(
        `matmul: the residual needs shape ${showShape(shape)}, got ${showShape(residual.shape)}`,
      )
    }
    const handle = kernels.matmul(left.handle, right.handle, bias?.handle, activation, residual?.handle)
    return new Tensor(kernels, handle, left.dtype, shape)
  },
  // On the tape no product has an activation: see `matmul`.
  saves: (needs) => ({ inputs: [...(needs[0] ? [1] : []), ...(needs[1] ? [0] : [])] }),
  backward: ({ inputs: [left, right], gradient, needs }) => [
    needs[0] ? plainProduct(gradient, right.transpose()) : undefined,
    needs[1] ? gradientOfRight(left, right, gradient) : undefined,
    needs[2] ? asRows(gradient).sum(0) : undefined,
    needs[3] ? gradient : undefined,
  ],
}
const plainProduct = (left: Tensor, right: Tensor): Tensor =>
  apply(matmulOperation, [left, right, undefined, undefined], { activation: 'none' })

/** In the layout of the right operand: that of a transposed weight is row-major for the weight. */
function gradientOfRight(left: Tensor, right: Tensor, gradient: Tensor): Tensor {
  const isTransposed = right.strides.at(-2) === 1 && right.strides.at(-1) !== 1
  return isTransposed
    ? plainProduct(gradient.transpose(), left).transpose()
    : plainProduct(left.transpose(), gradient)
}

/**
 * a [.., m, k] times b [.., k, n] gives [.., m, n]; leading axes broadcast. One matrix b for many a is one product.
 *
 * @throws ShapeError for vectors: say which side they stand on with `unsqueeze`.
 * @example matmul(x, w.transpose(), { bias, activation: 'relu' })
 */
export function matmul(a: Tensor, b: Tensor, epilogue: Epilogue = {}): Tensor {
  if (a.rank < 2 || b.rank < 2) {
    throw new ShapeError(
      `matmul: needs matrices, got ${showShape(a.shape)} and ${showShape(b.shape)}; give a vector a second axis with unsqueeze`,
    )
  }
  if (a.extent(-1) !== b.extent(-2)) {
    throw new ShapeError(
      `matmul: ${showShape(a.shape)} has ${a.extent(-1)} columns, which must equal the ${b.extent(-2)} rows of ${showShape(b.shape)}`,
    )
  }
  // The gradient of an activation wants what goes into it.
  const { activation = 'none' } = epilogue
  if (isExplicit() || (isRecording() && activation !== 'none')) return scope(() => written(a, b, epilogue))
  return scope(() => product(a, b, epilogue))
}

/** The epilogue as operations of its own. */
function written(a: Tensor, b: Tensor, { bias, activation = 'none', residual }: Epilogue): Tensor {
  const plain = product(a, b, {})
  const biased = bias ? add(plain, bias) : plain
  const active = activation === 'none' ? biased : { relu, silu }[activation](biased)
  return residual ? add(active, residual) : active
}

function product(a: Tensor, b: Tensor, { bias, activation = 'none', residual }: Epilogue): Tensor {
  const leading = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2), 'matmul')
  const shape = [...leading, a.extent(-2), b.extent(-1)]
  if (b.rank === 2 && a.rank > 2) {
    const rows = elementCount(shape.slice(0, -1))
    const flat =
      residual && sameShape(residual.shape, shape) ? residual.reshape([rows, b.extent(-1)]) : residual
    const left = a.reshape([rows, a.extent(-1)])
    return apply(matmulOperation, [left, b, bias, flat], { activation }).reshape(shape)
  }
  const left = a.expand([...leading, a.extent(-2), a.extent(-1)])
  const right = b.expand([...leading, b.extent(-2), b.extent(-1)])
  return apply(matmulOperation, [left, right, bias, residual], { activation })
}

/** x w^T + bias: x [.., in], w [out, in], bias [out], result [.., out]. */
export function linear(x: Tensor, w: Tensor, bias?: Tensor, epilogue: Omit<Epilogue, 'bias'> = {}): Tensor {
  if (w.rank !== 2 || x.rank === 0 || x.extent(-1) !== w.extent(1)) {
    throw new ShapeError(
      `linear: x [.., in] and a weight [out, in] must agree, got ${showShape(x.shape)} and ${showShape(w.shape)}`,
    )
  }
  return scope(() => {
    const rows = elementCount(x.shape.slice(0, -1))
    const shape = [...x.shape.slice(0, -1), w.extent(0)]
    const { residual } = epilogue
    const flat =
      residual && sameShape(residual.shape, shape) ? residual.reshape([rows, w.extent(0)]) : residual
    return matmul(x.reshape([rows, w.extent(1)]), w.transpose(), {
      ...epilogue,
      bias,
      residual: flat,
    }).reshape(shape)
  })
}

export interface GramOptions {
  /** Number type of the sums. @default 'f64' for f64, 'f32' for others */
  into?: 'f32' | 'f64'
}

const gramOperation: Operation<[Tensor], { into: 'f32' | 'f64' }, Tensor> = {
  name: 'gram',
  forward(kernels, [x], { into }) {
    needCompute(x, 'gram')
    const shape = [x.extent(-1), x.extent(-1)]
    const sums = new Tensor(kernels, kernels.fill(into, shape, 0), into, shape)
    kernels.addGram(sums.handle, x.handle)
    return sums
  },
  saves: () => ({ inputs: [0] }),
  backward: ({ inputs: [x], gradient }) => [x.matmul(cast(gradient.add(gradient.transpose()), x.dtype))],
}

/** x^T x summed over all leading axes: x [.., n], result [n, n], both triangles. */
export function gram(x: Tensor, { into = x.dtype === 'f64' ? 'f64' : 'f32' }: GramOptions = {}): Tensor {
  if (x.rank === 0) throw new ShapeError('gram: needs at least one axis')
  if (x.dtype === 'f64' && into === 'f32') throw new OptionError('gram: f64 rows sum into f64, not f32')
  return scope(() => apply(gramOperation, [asRows(x)], { into }))
}

/** [rows, n] with all leading axes flattened. */
export const asRows = (x: Tensor): Tensor => x.reshape([elementCount(x.shape.slice(0, -1)), x.extent(-1)])
