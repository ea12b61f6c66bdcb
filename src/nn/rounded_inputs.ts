/**
 * A weight whose inputs are rounded before the product, as programs do that multiply whole numbers.
 *
 *   scale = clip * max |x| / top,   x' = scale * clamp(round(x / scale), low, top)
 *
 * 8 bits have the levels -127 to 127 (Xiao et al. 2022, arXiv:2211.10438, eq. 1), 4 bits -8 to 7 (Ashkboos et al. 2024,
 * arXiv:2404.00456, section 4). Halves go to even. Computed in the type of the inputs, so that this measures what rounding
 * loses and gains no speed.
 */
import { OptionError } from '../tensor/errors.ts'
import { customGradient, scope, type Tensor } from '../tensor/index.ts'
import type { WeightSource } from './weight_source.ts'

export interface RoundedInputOptions {
  /** @default 8 */
  bits?: 4 | 8
  /**
   * What shares a scale: each token, or all inputs of a call, whose result then depends on what else runs at once.
   *
   * @default 'token'
   */
  per?: 'token' | 'tensor'
  /** The share of max |x| that the range spans, above 0 to 1; less cuts the largest inputs. @default 1 */
  clip?: number
}

const levels = { 4: { low: -8, top: 7 }, 8: { low: -127, top: 127 } } as const

/**
 * A source that rounds its inputs. Gradients pass the rounding as if it were not there.
 *
 * @throws OptionError for impossible options
 * @example linear.source = roundedInputs(linear.source, { bits: 8 })
 */
export function roundedInputs(inner: WeightSource, options: RoundedInputOptions = {}): WeightSource {
  const round = inputRounding(options)
  return {
    shape: inner.shape,
    matmul: (x, bias) => scope(() => inner.matmul(round(x), bias)),
    dense: () => inner.dense(),
    parameters: () => inner.parameters(),
    size: () => inner.size(),
    resources: () => [inner],
  }
}

/** The rounding alone: x [.., in] -> the same shape. @throws OptionError for impossible options */
export function inputRounding({
  bits = 8,
  per = 'token',
  clip = 1,
}: RoundedInputOptions = {}): (x: Tensor) => Tensor {
  if (!Object.hasOwn(levels, bits)) throw new OptionError(`inputs can be rounded to 4 or 8 bits, got ${bits}`)
  if (per !== 'token' && per !== 'tensor')
    throw new OptionError(`inputs share a scale per token or per tensor, got ${per}`)
  if (!(clip > 0 && clip <= 1))
    throw new OptionError(`the clip ratio of inputs must be above 0 and at most 1, got ${clip}; 1 is usual`)
  const { low, top } = levels[bits]
  return customGradient({
    name: 'roundInputs',
    forward: ([x]: readonly [Tensor]) => {
      const output = scope(() => {
        const largest = per === 'token' ? x.abs().max([-1], { keepDims: true }) : x.abs().max()
        const scale = largest.mul(clip / top)
        // What has no values but 0 stays so.
        const step = scale.equal(0).where(1, scale)
        return x.div(step).round().clamp({ min: low, max: top }).mul(step)
      })
      return { output, saved: [] }
    },
    backward: ({ gradient }) => [gradient],
  })
}
