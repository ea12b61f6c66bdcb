/**
 * Dropout (Srivastava et al. 2014) and drop path (Huang et al. 2016, arXiv:1603.09382): what is dropped follows from a
 * position in a random stream, so that no mask is kept for the way back.
 */

import { withKernels } from '../current_kernels.ts'
import { OptionError, ShapeError } from '../errors.ts'
import { ones } from '../makers.ts'
import { apply, type Operation } from '../operation.ts'
import type { RandomStream } from '../random.ts'
import { scope } from '../scope.ts'
import { needCompute, Tensor } from '../tensor.ts'
import { mul } from './elementwise.ts'

interface Options {
  p: number
  key: bigint
  counter: bigint
}

const dropoutOperation: Operation<[Tensor], Options, Tensor> = {
  name: 'dropout',
  forward(kernels, [x], { p, key, counter }) {
    return new Tensor(kernels, kernels.dropout(x.handle, p, key, counter), x.dtype, x.shape)
  },
  backward: ({ options, gradient }) => [apply(dropoutOperation, [gradient], options)],
}

/**
 * Each element is 0 with probability p, and divided by 1 - p else, so that its mean stays. x itself, and nothing drawn,
 * where p is 0.
 *
 * @param p in [0, 1)
 * @example const hidden = dropout(x, 0.1, randomStream(seed, 'dropout'))
 */
export function dropout(x: Tensor, p: number, stream: RandomStream): Tensor {
  needCompute(x, 'dropout')
  checkShare('dropout', p)
  if (p === 0) return x
  return apply(dropoutOperation, [x], { p, ...stream.take(x.size) })
}

/**
 * Dropout of whole samples: x[i], along the first axis, is 0 with probability p, and divided by 1 - p else.
 *
 * @param p in [0, 1)
 * @example const y = x.add(dropPath(block(x), 0.2, stream))
 */
export function dropPath(x: Tensor, p: number, stream: RandomStream): Tensor {
  needCompute(x, 'dropPath')
  checkShare('dropPath', p)
  if (x.rank === 0) throw new ShapeError('dropPath: needs an axis of samples, got a tensor without axes')
  if (p === 0) return x
  return scope(() => {
    const all = withKernels(x.kernels, () =>
      ones(
        x.shape.map((extent, i) => (i === 0 ? extent : 1)),
        x.dtype,
      ),
    )
    return mul(x, dropout(all, p, stream))
  })
}

function checkShare(name: string, p: number): void {
  if (!(p >= 0 && p < 1)) throw new OptionError(`${name}: p must be in [0, 1), got ${p}`)
}
