/**
 * EoRA: what compression lost at the outputs of a layer, brought back by two thin matrices beside the compressed weight.
 *
 *   D = W - W'                        what earlier steps lost                Liu et al. 2024, arXiv:2410.21271, section 3
 *   G = X^T X = Q diag(lambda) Q^T    sums over the inputs                   S = Q diag(sqrt(lambda))
 *   B A = the rank-r part of D S, times S^+                                  the least |(D - B A) X^T| of rank r
 *   y = W' x + B (A x)
 *
 * W is [out, in], B [out, r], A [r, in]. Needs no gradients. Differs from the published code: G is a plain sum, and
 * directions that the inputs hardly use have a pseudo-inverse, not a bounded one (`error_space.ts`).
 */
import type { LayerMethod, LayerTask } from '../calibrate/method.ts'
import { affineGrid } from '../nn/grid.ts'
import { type ProductValues, type StoredValues, storedSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'
import { type ErrorSpaceName, errorSpace, rememberedSpectrum } from './error_space.ts'
import { roundFactors } from './factor_rounding.ts'
import { type LowRank, lowRankError } from './low_rank_error.ts'

export interface EoraOptions {
  /**
   * Columns of B, from 0 on; at most the smaller side of a weight. More gives back more and takes rank * (1 / in +
   * 1 / out) * 16 bits a weight. @default 16
   */
  rank?: number
  /**
   * Where the error is measured: `eigen` at the outputs, `activation` with inputs by their root mean square alone, `svd`
   * in the weights. The last two are baselines. @default 'eigen'
   */
  space?: ErrorSpaceName
  /** Bits of the numbers of A and B: 3, 4 or 8 on a grid. 4 costs a quarter of f16, for ranks above 16. @default f16 */
  factorBits?: 3 | 4 | 8
  /** Columns of A or B that share a scale, from 1 on; a matrix with fewer has one group. With `factorBits`. @default 64 */
  factorGroupSize?: number
  /** How A and B are rounded to their grid: as GPTQ rounds a layer, or each number to nearest. @default 'gptq' */
  factorRounding?: 'gptq' | 'rtn'
}

/**
 * A step behind others: it needs what they stored.
 *
 * @throws OptionError here for impossible options, from `compress` without an earlier step or Gram matrix; NumericalError
 * where the Gram matrix or the error is not finite, or does not fit f16
 * @example eora({ rank: 32 }).compress({ name, dense, current, before, statistics })
 */
export function eora(options: EoraOptions = {}): LayerMethod {
  const { rank = 16, space = 'eigen', factorBits, factorGroupSize = 64, factorRounding = 'gptq' } = options
  checkOptions({ rank, space, factorBits, factorGroupSize, factorRounding })
  const decompose = rememberedSpectrum()
  const grid = factorBits && affineGrid({ bits: factorBits, groupSize: factorGroupSize })
  return {
    name: 'eora',
    needs: ['gram'],
    compress(task) {
      const { name, dense, current, before, statistics } = task
      const { gram } = statistics
      if (!before)
        throw new OptionError(
          `${name}: eora brings back what an earlier step lost, and there is none; put it behind one, as in --method gptq --then eora`,
        )
      if (!gram) throw new OptionError(`${name}: eora needs the Gram matrix of the layer's inputs`)
      if (!scope(() => gram.isFinite().all().item()))
        throw new NumericalError(
          `${name}: the inputs of this layer are not finite; the model or its text is damaged`,
          {
            code: 'PARE_E_NOT_FINITE',
          },
        )
      const most = Math.min(...(dense.shape as [number, number]))
      const used = Math.min(rank, most)
      const notes: string[] = []
      if (used < rank) notes.push(`rank ${used} is the most of ${dense.shape.join(' x ')} weights`)
      if (used === 0) return edit(task, before, notes)
      return named(name, () => {
        const measure = errorSpace(space, gram, decompose)
        if (measure.dropped > 0) notes.push(`${measure.dropped} directions of the inputs are negligible`)
        if (statistics.rows < dense.extent(1))
          notes.push(`only ${statistics.rows} tokens for ${dense.extent(1)} inputs`)
        const product = scope((): ProductValues => {
          const factors = lowRankError(dense.cast('f64').sub(current.cast('f64')), measure, used)
          if (!grid) return halves(factors)
          return {
            kind: 'product',
            ...roundFactors(factors, grid, factorRounding === 'gptq' ? gram : undefined),
          }
        })
        return edit(task, { kind: 'sum', terms: [before, product] }, notes)
      })
    },
  }
}

/** A and B as they are stored without a grid. */
function halves({ left, right }: LowRank): ProductValues {
  const half = (x: Tensor): StoredValues => ({ kind: 'dense', numbers: x.cast('f16') })
  return { kind: 'product', left: half(left), right: half(right) }
}

function edit({ mask }: LayerTask, values: StoredValues, notes: readonly string[]) {
  const source = storedSource(values)
  const decoded = source.dense()
  if (!scope(() => decoded.isFinite().all().item()))
    throw new NumericalError('the error of the weight does not fit f16; the earlier step is damaged')
  return { source, decoded, ...(mask && { mask }), diagnostics: { notes } }
}

/** Errors of the work on one weight with its name. */
function named<T>(name: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof NumericalError)) throw error
    const { code, facts, message } = error
    throw new NumericalError(`${name}: ${message}`, { code, facts, cause: error })
  }
}

function checkOptions(
  o: Required<Omit<EoraOptions, 'factorBits'>> & { factorBits: number | undefined },
): void {
  if (!(Number.isSafeInteger(o.rank) && o.rank >= 0))
    throw new OptionError(`the rank must be a whole number from 0 on, got ${o.rank}; 16 is usual`)
  if (!['eigen', 'svd', 'activation'].includes(o.space))
    throw new OptionError(`the space must be eigen, svd or activation, got ${o.space}`)
  if (o.factorBits !== undefined && ![3, 4, 8].includes(o.factorBits))
    throw new OptionError(`factors have 3, 4 or 8 bits, or f16 without a number, got ${o.factorBits}`)
  if (!(Number.isSafeInteger(o.factorGroupSize) && o.factorGroupSize >= 1))
    throw new OptionError(
      `groups of factors need a whole number from 1 on, got ${o.factorGroupSize}; 64 is usual`,
    )
  if (!['gptq', 'rtn'].includes(o.factorRounding))
    throw new OptionError(`factors are rounded with gptq or rtn, got ${o.factorRounding}`)
}
