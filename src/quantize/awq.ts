/**
 * AWQ: input channels with large activations get larger weights before rounding, and what comes before them is divided by
 * as much, so that the model computes what it did and rounding hurts it less. Then weights are cut where that makes their
 * grid finer. Nothing is rounded here: the edits come before a step that rounds.
 *
 *   norm -> q, k, v;  v -> o;  norm -> gate, up;  up -> down           Lin et al. 2023, arXiv:2306.00978
 *   scales      see scale_search.ts; f is the whole attention for q, k, v, the whole MLP for gate, up, else the weight itself
 *   bounds      see clip_search.ts, of scaled weights on scaled inputs; not of q and k
 *
 * Inputs are those of the float model. Each group is searched on the float stage: the scales of one change neither inputs nor
 * losses of another, since rows only stretch and the inputs x / s of scaled weights carry the rest. Differs from the published
 * code, which searches with all calibration tokens: means are of all, losses of `searchTokens` of them.
 */

import { type WalkModel, walk } from '../calibrate/walk.ts'
import { type ActivationOptions, usualMemoryLimit } from '../models/activations.ts'
import { batchesOf } from '../models/batches.ts'
import type { TensorEdits } from '../models/tensor_edits.ts'
import type { Grid } from '../nn/grid.ts'
import { OptionError } from '../tensor/errors.ts'
import { StageSearch } from './awq_stage.ts'
import { SearchInputs } from './search_inputs.ts'

export interface AwqOptions extends ActivationOptions {
  /** What the step behind rounds a weight to, by its name and shape [out, in]; nothing where it stays as it is. */
  grid: (name: string, shape: readonly [number, number]) => Grid | undefined
  /** Exponents that are tried, 1 to 1000; time is in proportion. 1 leaves all scales at 1. @default 20 */
  gridPoints?: number
  /** Scales look at weights too, as AutoAWQ has it; try it where the scales of activations alone gain little. @default false */
  duoScaling?: boolean
  /** Cuts the largest weights of groups; off leaves the function of the model as it is. @default true */
  clip?: boolean
  /** Tokens that losses of scales are measured with, from 1 on; time is in proportion. @default 2048 */
  searchTokens?: number
  /** Tokens that bounds are searched with, from 1 on. @default 512 */
  clipTokens?: number
  /** Which tokens these are. @default 0 */
  seed?: number
  /** Tokens that run at once. @default 2048 */
  batchTokens?: number
  signal?: AbortSignal | undefined
  /** Called as work goes on; `share` of the stage is from 0 to 1. */
  progress?: (stage: number, share: number) => void
}

/** What the search found for weights that share their inputs. */
export interface AwqGroup {
  readonly weights: readonly string[]
  /** r; nothing where no scales were best, with `duoScaling`. */
  readonly exponent: number | undefined
  /** Mean squared error of the module's output. */
  readonly loss: number
  /** The same without scales. */
  readonly lossOfRounding: number
}

export interface AwqResult {
  readonly edits: TensorEdits
  readonly groups: readonly AwqGroup[]
  readonly notes: readonly string[]
}

/** Share of a stage's time that the walk takes, about. */
const walkShare = 0.2

/**
 * @param samples token ids of the calibration text
 * @throws OptionError for impossible options, and models whose norms feed more than weights; NumericalError where inputs or
 * outputs are not finite
 * @example const { edits } = await awq(open.model, samples, { grid: () => affineGrid({ bits: 4, groupSize: 128 }) })
 */
export async function awq(
  model: WalkModel,
  samples: readonly Uint32Array[],
  options: AwqOptions,
): Promise<AwqResult> {
  const { gridPoints = 20, duoScaling = false, clip = true, searchTokens = 2048, clipTokens = 512 } = options
  needWhole('the number of grid points', gridPoints, 1000, 20)
  needWhole('the number of search tokens', searchTokens, 2 ** 31, 2048)
  needWhole('the number of clip tokens', clipTokens, 2 ** 31, 512)
  const { seed = 0, batchTokens, signal, progress, memoryLimit = usualMemoryLimit, scratch } = options
  // Half is for what passes through the stages, half for what the search keeps of it.
  const limits = {
    memoryLimit: Math.floor(memoryLimit / 2),
    ...(scratch === undefined ? {} : { scratch }),
  }
  const search = new StageSearch({ ...options, gridPoints, duoScaling, clip, clipTokens }, model)
  const batches = batchesOf(samples, batchTokens)
  let [stage, batch] = [0, 0]
  let inputs: SearchInputs | undefined
  try {
    await walk({
      model,
      samples,
      groups: 'unchanged',
      ...limits,
      ...(batchTokens === undefined ? {} : { batchTokens }),
      visitor: {
        beginStage(_, loaded) {
          inputs = new SearchInputs(batches, { tokens: searchTokens, seed, ...limits })
          search.begin(loaded, inputs)
          batch = 0
        },
        observe(linears, x) {
          if (search.observe(batch, linears, x)) batch++
        },
        endStage() {
          search.finish((share) => progress?.(stage, walkShare + (1 - walkShare) * share))
          inputs!.close()
          stage++
        },
      },
      signal,
      progress: (index, share) => progress?.(index, walkShare * share),
    })
  } finally {
    inputs?.close()
  }
  const all = samples.reduce((total, { length }) => total + length, 0)
  if (all < searchTokens) search.remark(`only ${all} tokens, where the search takes ${searchTokens}`)
  return { edits: search.edits, groups: search.found, notes: [...search.notes] }
}

function needWhole(what: string, found: number, most: number, usual: number): void {
  if (Number.isInteger(found) && found >= 1 && found <= most) return
  throw new OptionError(`${what} must be a whole number from 1 to ${most}, got ${found}; ${usual} is usual`)
}
