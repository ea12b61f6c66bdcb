/**
 * SmoothQuant: what makes inputs hard to round, single channels with large values, moves into the weights that take them.
 * The norm before the weights is divided by as much, so that the model computes what it did. For activations of 8 bits.
 *
 *   s_c = max( max |x_c|^alpha / max |W_:,c|^(1 - alpha), 1e-5 )        Xiao et al. 2022, arXiv:2211.10438, eq. 4
 *   norm <- norm / s,  W <- W diag(s)                                   eq. 3, for norm -> q, k, v and norm -> gate, up
 *
 * max |x_c| is of all tokens of the calibration text on the float model, max |W_:,c| of all weights behind the norm, at least
 * 1e-5.
 */
import { InputMagnitudes } from '../calibrate/input_magnitudes.ts'
import { type WalkModel, walk } from '../calibrate/walk.ts'
import type { ActivationOptions } from '../models/activations.ts'
import { scalingOf } from '../models/scaling_groups.ts'
import type { TensorEdit, TensorEdits } from '../models/tensor_edits.ts'
import type { Linear } from '../nn/linear.ts'
import { NumericalError, OptionError } from '../tensor/errors.ts'
import { concat, scope, type Tensor } from '../tensor/index.ts'

export interface SmoothquantOptions extends ActivationOptions {
  /**
   * How much moves: 0 keeps all of it in the inputs, 1 puts all into the weights. 0.8 to 0.9 where activations have large
   * outliers, as in Llama and Mistral. @default 0.5
   */
  alpha?: number
  /** Tokens that run at once. @default 2048 */
  batchTokens?: number
  signal?: AbortSignal | undefined
  /** Called as work goes on; `share` of the stage is from 0 to 1. */
  progress?: (stage: number, share: number) => void
}

export interface SmoothquantResult {
  readonly edits: TensorEdits
  readonly notes: readonly string[]
}

/** The least scale, and the least max |W_:,c|. */
const floor = 1e-5

/**
 * @param samples token ids of the calibration text
 * @throws OptionError for an impossible alpha, and models whose norms feed more than weights; NumericalError where inputs or
 * weights are not finite
 * @example const { edits } = await smoothquant(open.model, samples, { alpha: 0.85 })
 */
export async function smoothquant(
  model: WalkModel,
  samples: readonly Uint32Array[],
  { alpha = 0.5, progress, ...options }: SmoothquantOptions = {},
): Promise<SmoothquantResult> {
  if (!(alpha >= 0 && alpha <= 1))
    throw new OptionError(`alpha must be a number from 0 to 1, got ${alpha}; 0.5 is usual`)
  const edits = new Map<string, TensorEdit[]>()
  const notes: string[] = []
  const add = (name: string, edit: TensorEdit) => edits.set(name, [...(edits.get(name) ?? []), edit])
  let seen = new Map<readonly Linear[], InputMagnitudes>()
  await walk({
    ...options,
    model,
    samples,
    groups: 'unchanged',
    ...(progress ? { progress } : {}),
    visitor: {
      beginStage: () => {
        seen = new Map()
      },
      observe(linears, x) {
        const magnitudes = seen.get(linears) ?? new InputMagnitudes(x.extent(-1))
        seen.set(linears, magnitudes)
        magnitudes.add(x)
      },
      endStage(_, stage) {
        const { groups } = scalingOf(stage, 'smoothquant')
        for (const { kind, divided, linears } of groups) {
          if (kind !== 'norm') continue
          const [first] = linears as [Linear]
          const segment = stage.segments.find((each) => each.linears.includes(first))!
          const magnitudes = seen.get(segment.linears)!
          magnitudes.checkFinite(first.name)
          const dead = magnitudes.dead()
          if (dead > 0) notes.push(`${first.name}: ${dead} inputs are always 0`)
          const scales = scope(() =>
            smoothingScales(
              magnitudes.largest,
              linears.map(({ source }) => source.dense()),
              alpha,
            ),
          )
          for (const { name } of linears) add(name, { kind: 'scaleColumns', by: scales })
          for (const name of divided) add(name, { kind: 'scaleRows', by: scales.map((s) => 1 / s) })
        }
      },
    },
  })
  return { edits, notes }
}

/**
 * s of inputs with these largest |x|, for the weights [out, in] that take them.
 *
 * @throws NumericalError where a weight is not finite
 */
export function smoothingScales(
  largest: Float64Array,
  weights: readonly Tensor[],
  alpha: number,
): Float64Array {
  const ofWeights = scope(() =>
    concat(
      weights.map((weight) => weight.abs().max([0], { keepDims: true })),
      0,
    )
      .max([0])
      .toArray(),
  ) as Float32Array | Float64Array
  const damaged = ofWeights.findIndex((weight) => !Number.isFinite(weight))
  if (damaged >= 0)
    throw new NumericalError(`a weight of input ${damaged} is not finite; the model is damaged`, {
      code: 'PARE_E_NOT_FINITE',
      facts: { input: damaged },
    })
  return largest.map((x, c) => Math.max(x ** alpha / Math.max(ofWeights[c]!, floor) ** (1 - alpha), floor))
}
