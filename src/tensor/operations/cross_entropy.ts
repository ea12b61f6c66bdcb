/** Softmax cross-entropy: what a classifier or a language model is trained with. */

import { NumericalError, OptionError, ShapeError } from '../errors.ts'
import type { CrossEntropyOptions as KernelOptions } from '../kernels.ts'
import { apply, type Operation } from '../operation.ts'
import { scope } from '../scope.ts'
import { sameShape, showShape } from '../shape.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { cast } from './cast.ts'
import { div, mul, notEqual, sub } from './elementwise.ts'
import { sum } from './reduce.ts'

export interface CrossEntropyOptions {
  /** Mean over the rows that count, sum, or the loss of each row. @default 'mean' */
  reduction?: 'mean' | 'sum' | 'none'
  /** Share of the target that is spread evenly over all classes, in [0, 1]. @default 0 */
  smoothing?: number
  /** The label of rows that do not count: their loss and gradient are 0. @default none */
  ignored?: number
}

const crossEntropyGradientOperation: Operation<[Tensor, Tensor, Tensor, Tensor], KernelOptions, Tensor> = {
  name: 'crossEntropyGradient',
  forward(kernels, [logits, targets, logSums, dlosses], options) {
    const handle = kernels.crossEntropyGradient(
      logits.handle,
      targets.handle,
      logSums.handle,
      dlosses.handle,
      options,
    )
    return new Tensor(kernels, handle, logits.dtype, logits.shape)
  },
}

const crossEntropyOperation: Operation<[Tensor, Tensor], KernelOptions, readonly [Tensor, Tensor]> = {
  name: 'crossEntropy',
  forward(kernels, [logits, targets], options) {
    const [losses, logSums] = kernels.crossEntropy(logits.handle, targets.handle, options)
    const [dtype, shape] = [logits.dtype === 'f64' ? 'f64' : 'f32', logits.shape.slice(0, -1)] as const
    return [new Tensor(kernels, losses, dtype, shape), new Tensor(kernels, logSums, dtype, shape)]
  },
  saves: (needs) => ({ inputs: needs[0] ? [0, 1] : [0], outputs: [1] }),
  backward({ inputs: [logits, targets], options, output: [, logSums], needs, gradient }) {
    const toLogits = needs[0]
      ? apply(crossEntropyGradientOperation, [logits, targets, logSums, gradient], options)
      : undefined
    if (!needs[1]) return [toLogits, undefined]
    // A target costs what its class costs: (1 - smoothing) (log(sum(exp(x))) - x).
    const costs = sub(logSums.unsqueeze(-1), cast(logits, logSums.dtype))
    const toTargets = mul(costs, gradient.mul(1 - options.smoothing).unsqueeze(-1))
    return [toLogits, cast(toTargets, logits.dtype)]
  },
}

/**
 * -log(softmax(logits)) of the right class, row by row of logits [.., classes]. Targets are labels [..] (u32) or
 * distributions [.., classes] of the number type of the logits, which may come from another model. Of the forward pass one
 * number a row is kept beside the logits. Losses are f32, or f64 for logits in f64; the rows of `none` have shape [..].
 *
 * @throws ShapeError where a label is no class, with its row; NumericalError where a mean has no row that counts.
 * @example const loss = crossEntropy(model(ids), next, { ignored: 4294967295 })
 */
export function crossEntropy(logits: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const { reduction = 'mean', smoothing = 0, ignored } = options
  checkTargets(logits, targets, ignored)
  if (!(smoothing >= 0 && smoothing <= 1))
    throw new OptionError(`crossEntropy: smoothing must be in [0, 1], got ${smoothing}`)
  return scope(() => {
    const [losses] = apply(crossEntropyOperation, [logits, targets], { smoothing, ignored })
    if (reduction === 'none') return losses
    const total = sum(losses)
    return reduction === 'sum' ? total : div(total, countedRows(losses, targets, ignored))
  })
}

/** Rows whose label is not the ignored one. */
function countedRows(losses: Tensor, targets: Tensor, ignored: number | undefined): number {
  const rows = ignored === undefined ? losses.size : sum(cast(notEqual(targets, ignored), 'f64')).item()
  if (rows > 0) return rows
  throw new NumericalError(
    `crossEntropy: a mean needs a row that counts, and none of ${losses.size} has another label than the ignored one; use the reduction 'sum'`,
    { facts: { rows: losses.size } },
  )
}

function checkTargets(logits: Tensor, targets: Tensor, ignored: number | undefined): void {
  needCompute(logits, 'crossEntropy')
  const labels = targets.dtype === 'u32'
  const fits = labels
    ? sameShape(targets.shape, logits.shape.slice(0, -1))
    : targets.dtype === logits.dtype && sameShape(targets.shape, logits.shape)
  if (logits.rank === 0 || !fits) {
    throw new ShapeError(
      `crossEntropy: logits [.., classes] need u32 labels [..] or targets of their own shape and type, got ${logits.dtype} ${showShape(logits.shape)} and ${targets.dtype} ${showShape(targets.shape)}`,
    )
  }
  if (ignored === undefined) return
  if (!labels) throw new OptionError('crossEntropy: only labels can be ignored; distributions all count')
  if (!(Number.isInteger(ignored) && ignored >= 0 && ignored < 2 ** 32))
    throw new OptionError(`crossEntropy: ignored must be a label from 0 to 2^32 - 1, got ${ignored}`)
}
