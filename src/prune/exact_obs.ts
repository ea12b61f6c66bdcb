/**
 * ExactOBS: of each row the weight goes first whose removal changes the output least, and the others make up for it.
 *
 *   H = G + damping * mean(diag G) * I                        Frantar and Alistarh 2022, arXiv:2208.11580, section 3
 *   loss_p = w_p^2 / (2 [H^-1]_pp)                            eq. 1, of the least loss
 *   w <- w - [H^-1]_:p w_p / [H^-1]_pp                        eq. 1
 *   H^-1 <- H^-1 - [H^-1]_:p [H^-1]_p: / [H^-1]_pp            lemma 1
 *   rows give up steps by a global threshold                  algorithm 2, `removal_counts.ts`
 *   n:m     no step in a group that gave up m - n             section 4
 *   blocks  loss_B = w_B ([H^-1]_BB)^-1 w_B^T / 2             section 4
 *
 * W is [out, in]; G = X^T X over the inputs of the layer. A convolution is the matrix of its rows [out, kh * kw * in], so that
 * groups and blocks lie along its input channels. Differs from the published code: rows at the wanted sparsity are made by a
 * second run in the order of the first, in place of a trace of all rows after all steps; an H without a usable inverse takes
 * more damping, relative to its diagonal. Weights that an earlier step pruned stay 0 and count as zeros.
 */
import { liveWeight, withInverseHessian } from '../calibrate/inverse_hessian.ts'
import { checkDamping, checkLayer } from '../calibrate/layer_checks.ts'
import type { LayerEdit, LayerMethod } from '../calibrate/method.ts'
import { type ObsProblem, type ObsTrace, obsGroups, obsRows, obsTrace } from '../nn/greedy_obs.ts'
import { bitmaskOf } from '../nn/values/bitmask.ts'
import { storedSource } from '../nn/values/values.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { type ObsPattern, obsPattern } from './obs_pattern.ts'
import { type Pattern, unstructured } from './pattern.ts'
import { removalCounts, removedCount, type Selection } from './removal_counts.ts'

export interface ExactObsOptions {
  /** Share of zeros, in [0, 1], rounded up to whole weights or blocks. @default 0.5, or of n:m its own */
  sparsity?: number
  /** Single weights anywhere, n:m (n kept of every m inputs), or blocks of 1 row and 1 to 64 columns. @default unstructured */
  pattern?: Pattern
  /**
   * How rows share the zeros: by the cheapest next step, by the number of cheap steps (as the published code), or evenly.
   * Take `row` where a kernel needs rows alike. @default 'heap'
   */
  selection?: Selection
  /**
   * Added to the diagonal of H, as a share of its mean, from 0 on; 0.01, 0.1 and 1 follow where it does not help. Raise it
   * where results get worse on other data. @default 0, or 0.01 where there are fewer tokens than inputs
   */
  damping?: number
  /** Type that living weights are stored in; bf16 where they go past 65504, f32 to keep all digits. @default 'f16' */
  numbers?: 'f16' | 'bf16' | 'f32'
}

/**
 * @throws OptionError here for impossible options, from `compress` where m does not divide the inputs; NumericalError from
 * `compress` where H has no inverse
 * @example exactObs({ sparsity: 0.75 }).compress({ name, dense, current: dense, statistics })
 */
export function exactObs(options: ExactObsOptions = {}): LayerMethod {
  const { sparsity, shape, selection, damping, numbers } = checkedObs(options)
  return {
    name: 'obs',
    needs: ['gram'],
    compress(task) {
      const { name, current, mask, statistics } = task
      checkLayer('obs', task)
      shape.check(name, current.extent(1))
      if (sparsity === 0)
        return editOf(name, current, mask ?? new Uint8Array(current.size).fill(1), numbers, { notes: [] })
      const {
        result,
        damping: used,
        notes,
      } = withInverseHessian({ name, statistics, damping }, (hessian) => {
        const weight = tensor(liveWeight(current, hessian.dead, mask), current.shape, 'f64')
        return prunedWeight({ weight, inverse: hessian.inverse, mask }, shape, sparsity, selection)
      })
      return editOf(name, result.dense, result.mask, numbers, { damping: used, notes })
    },
  }
}

/** Weights that live of a layer that was dense; nothing where the data decides, as for blocks that do not divide the inputs. */
export function exactObsKept(
  [rows, columns]: readonly [number, number],
  options: ExactObsOptions = {},
): number | undefined {
  const { sparsity, shape, selection } = checkedObs(options)
  if (shape.kind === 'n:m') return ((rows * columns) / shape.m) * shape.n
  const units = Math.ceil(columns / shape.width)
  const removed = removedCount(rows * units, sparsity)
  if (removed === rows * units) return 0
  if (columns % shape.width !== 0 && removed > 0) return undefined
  const all = selection === 'row' ? rows * Math.ceil(removed / rows) : removed
  return rows * columns - all * shape.width
}

function checkedObs(options: ExactObsOptions) {
  const { pattern = unstructured, selection = 'heap', damping, numbers = 'f16' } = options
  const shape = obsPattern('obs', pattern)
  const own = shape.kind === 'n:m' ? 1 - shape.n / shape.m : undefined
  const { sparsity = own ?? 0.5 } = options
  if (!(sparsity >= 0 && sparsity <= 1))
    throw new OptionError(
      `obs: the sparsity must be in [0, 1], got ${sparsity}; 0.5 zeroes half of the weights`,
    )
  if (own !== undefined && Math.abs(sparsity - own) > 1e-9)
    throw new OptionError(
      `obs: the pattern has a sparsity of ${own}, got ${sparsity}; leave the sparsity out`,
    )
  if (!['heap', 'sort', 'row'].includes(selection))
    throw new OptionError(`obs: the selection must be heap, sort or row, got ${selection}; heap is usual`)
  if (!['f16', 'bf16', 'f32'].includes(numbers))
    throw new OptionError(`obs: numbers are f16, bf16 or f32, got ${numbers}; f16 is usual`)
  checkDamping('obs', damping)
  return { sparsity, shape, selection, damping, numbers }
}

/** One sparsity; nothing where the inverse lost its positive diagonal. */
function prunedWeight(
  problem: ObsProblem,
  shape: ObsPattern,
  sparsity: number,
  selection: Selection,
): { dense: Tensor; mask: Uint8Array } | undefined {
  if (shape.kind === 'n:m') {
    const found = obsGroups(problem, shape.m, shape.m - shape.n)
    return found && { dense: found.dense, mask: found.kept }
  }
  const trace = obsTrace(problem, shape.width)
  if (!trace) return undefined
  const counts = countsAt(problem, trace, sparsity, selection)
  const dense = obsRows(problem, trace, [counts])
  return dense && { dense: dense.reshape(problem.weight.shape), mask: maskAfter(problem, trace, counts) }
}

/** Units that each row gives up at a sparsity. */
export function countsAt(
  { weight, mask }: ObsProblem,
  trace: ObsTrace,
  sparsity: number,
  selection: Selection,
): Uint32Array {
  const rows = weight.extent(0)
  const removed = removedCount(rows * trace.units, sparsity)
  return removalCounts(trace, removed, selection, goneUnits(rows, weight.extent(1), trace.width, mask))
}

/** Units of each row in which the mask keeps nothing. */
function goneUnits(rows: number, columns: number, width: number, mask: Uint8Array | undefined): Uint32Array {
  const gone = new Uint32Array(rows)
  if (!mask) return gone
  for (let row = 0; row < rows; row++)
    for (let start = 0; start < columns; start += width) {
      const unit = mask.subarray(row * columns + start, row * columns + Math.min(start + width, columns))
      if (unit.every((kept) => kept === 0)) gone[row]!++
    }
  return gone
}

/** 1 where a weight is kept once the first units of each row went. */
export function maskAfter(
  { weight, mask }: ObsProblem,
  { width, units, order }: ObsTrace,
  counts: Uint32Array,
): Uint8Array {
  const columns = weight.extent(1)
  const kept = mask ? mask.map((bit) => (bit ? 1 : 0)) : new Uint8Array(weight.size).fill(1)
  for (const [row, count] of counts.entries())
    for (const unit of order.subarray(row * units, row * units + count))
      kept.fill(0, row * columns + unit * width, row * columns + Math.min(unit * width + width, columns))
  return kept
}

function editOf(
  name: string,
  dense: Tensor,
  mask: Uint8Array,
  numbers: 'f16' | 'bf16' | 'f32',
  diagnostics: LayerEdit['diagnostics'],
): LayerEdit {
  const source = storedSource(bitmaskOf(dense, mask, numbers))
  const decoded = source.dense()
  if (!(decoded.toArray() as Float32Array).every(Number.isFinite))
    throw new NumericalError(
      `${name}: a living weight is too large for ${numbers}; store the numbers as bf16 or f32`,
      {
        code: 'PARE_E_NOT_FINITE',
        facts: { numbers },
      },
    )
  return { source, decoded, mask, diagnostics }
}
