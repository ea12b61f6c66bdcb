/**
 * Steps of optimisers on states: one fused kernel changes a parameter and its moments in place. None of this is on the
 * tape. Which numbers a step takes is said in src/optim.
 */
import { ShapeError } from './errors.ts'
import type { AdamStep, SgdStep } from './kernels.ts'
import { nativeFault } from './native.ts'
import { sameShape, showShape } from './shape.ts'
import type { State } from './state.ts'
import { needCompute, type Tensor } from './tensor.ts'

/**
 * One step of SGD.
 *
 * @param parameter f32 or f64
 * @param momentum of the shape and type of the parameter, or nothing for plain descent
 * @param gradient of the shape of the parameter, and of its type, or bf16 for f32
 * @throws ShapeError where shapes, types or kernels do not fit
 */
export function sgdStep(
  parameter: State,
  momentum: State | undefined,
  gradient: Tensor,
  step: SgdStep,
): void {
  check('sgdStep', parameter, momentum ? [momentum] : [], gradient)
  if (momentum === undefined)
    parameter.change((kernels, p) => kernels.sgdStep(p, undefined, gradient.handle, step))
  else
    parameter.change((kernels, p) => momentum.change((_, m) => kernels.sgdStep(p, m, gradient.handle, step)))
}

/** One step of Adam or AdamW, with the mean of gradients and that of their squares. Types as in `sgdStep`. */
export function adamStep(
  parameter: State,
  first: State,
  second: State,
  gradient: Tensor,
  step: AdamStep,
): void {
  check('adamStep', parameter, [first, second], gradient)
  parameter.change((kernels, p) =>
    first.change((_, m) => second.change((_, v) => kernels.adamStep(p, m, v, gradient.handle, step))),
  )
}

/** The sum of all squares of x in f32, f64 or bf16: in f64, and the same for every number of threads. */
export function sumOfSquares(x: Tensor): number {
  needCompute(x, 'sumOfSquares')
  if (!x.alive)
    throw new ShapeError('sumOfSquares: x is no longer alive; return it from its scope to keep it')
  try {
    return x.kernels.sumOfSquares(x.handle)
  } catch (error) {
    throw nativeFault(error)
  }
}

function check(name: string, parameter: State, moments: readonly State[], gradient: Tensor): void {
  const { dtype, shape, kernels } = parameter
  if (dtype !== 'f32' && dtype !== 'f64')
    throw new ShapeError(
      `${name}: ${parameter.name} needs f32 or f64, got ${dtype}; train a wider copy of it`,
    )
  if (new Set([parameter, ...moments]).size <= moments.length)
    throw new ShapeError(`${name}: ${parameter.name} and its moments must be states of their own`)
  for (const moment of moments)
    if (moment.dtype !== dtype || !sameShape(moment.shape, shape) || moment.kernels !== kernels)
      throw new ShapeError(
        `${name}: ${moment.name} needs ${dtype} ${showShape(shape)} in the memory of ${parameter.name}, got ${moment.dtype} ${showShape(moment.shape)}`,
      )
  if (!gradient.alive)
    throw new ShapeError(
      `${name}: the gradient of ${parameter.name} is no longer alive; return it from its scope to keep it`,
    )
  const typed = gradient.dtype === dtype || (dtype === 'f32' && gradient.dtype === 'bf16')
  if (!typed || !sameShape(gradient.shape, shape) || gradient.kernels !== kernels)
    throw new ShapeError(
      `${name}: the gradient of ${parameter.name} needs ${dtype} ${showShape(shape)} in its memory, got ${gradient.dtype} ${showShape(gradient.shape)}`,
    )
}
