/** What a method of second order needs of its task, checked before it computes anything. */
import { NumericalError, OptionError } from '../tensor/errors.ts'
import type { LayerTask } from './method.ts'

/**
 * @param method name of the method, for messages
 * @throws OptionError for a task without a Gram matrix, or with one or a mask of another size; NumericalError for a weight
 * that is not finite
 */
export function checkLayer(method: string, { name, current, mask, statistics }: LayerTask): void {
  if (current.shape.length !== 2 || current.size === 0)
    throw new OptionError(
      `${name}: ${method} needs a matrix, got shape [${current.shape}]; leave the weight out`,
    )
  const columns = current.extent(1)
  const { gram } = statistics
  if (!gram)
    throw new OptionError(`${name}: ${method} needs the Gram matrix of the layer's inputs; gather it first`)
  if (gram.shape.length !== 2 || gram.extent(0) !== columns || gram.extent(1) !== columns)
    throw new OptionError(
      `${name}: ${method} needs a Gram matrix [${columns}, ${columns}], got [${gram.shape}]; take that of this layer`,
    )
  if (mask && mask.length !== current.size)
    throw new OptionError(
      `${name}: ${method} needs a mask of ${current.size} entries, got ${mask.length}; take that of this layer`,
    )
  if (!(current.toArray() as Float32Array).every(Number.isFinite))
    throw new NumericalError(`${name}: a weight is not finite; the model is damaged`, {
      code: 'PARE_E_NOT_FINITE',
    })
}

/** @throws OptionError, which begins with the name of the method */
export function checkDamping(method: string, damping: number | undefined): void {
  if (damping === undefined || (damping >= 0 && Number.isFinite(damping))) return
  throw new OptionError(`${method}: the damping must be a number from 0 on, got ${damping}; 0.01 is usual`)
}
