/** What is to be measured before a mix is chosen, from headers and options alone: plans count its memory and time. */
import type { OpenLanguageModel } from '../../models/open_model.ts'
import type { TensorPlan } from '../../models/write/tensor_plan.ts'
import type { ResolvedCompressOptions } from '../compress_options.ts'
import { stepsAsMethod, stepsByName } from '../step_sequence.ts'
import { type ResolvedMix, type SensitivityName, windowTokens } from './mix_options.ts'
import type { MixChoice } from './mix_space.ts'

/** Sequences of equal length. */
export interface Sequences {
  count: number
  /** Tokens of each. */
  length: number
}

/** A matrix at a level. */
export interface TriedLevel {
  plan: TensorPlan
  /** The methods that it goes through, in their order. */
  methods: readonly string[]
}

export interface MeasurementTask {
  how: SensitivityName
  /** What the KL is taken on; of a short text there are fewer. */
  windows: Sequences
  /** What statistics are gathered from; absent where nothing needs them. */
  samples?: Sequences
  /** What is tried of the matrices of each stage. */
  stages: readonly (readonly TriedLevel[])[]
}

/** Levels by the name of the weight. */
export type WantedLevels = ReadonlyMap<string, readonly MixChoice[]>

/** Whether methods, or the way to compare levels, ask for the inputs of the weights. */
export const needsStatistics = (how: SensitivityName, needs: readonly string[]): boolean =>
  how === 'error' || needs.length > 0

/** Nothing where all is known. */
export function measurementTask(
  source: Pick<OpenLanguageModel, 'model' | 'weights'>,
  { steps, samples, length }: ResolvedCompressOptions,
  { sensitivity, windows }: ResolvedMix,
  wanted: WantedLevels,
): MeasurementTask | undefined {
  if (wanted.size === 0) return undefined
  const names = [...source.weights.infos.keys()]
  const taken = stepsByName(steps, names)
  const { needs } = stepsAsMethod(steps, names)
  return {
    how: sensitivity,
    windows: { count: windows, length: Math.min(windowTokens, length) },
    ...(needsStatistics(sensitivity, needs) ? { samples: { count: samples, length } } : {}),
    stages: source.model.stages.map(({ weights }) =>
      weights.flatMap((name) =>
        (wanted.get(name) ?? []).map(({ plan }) => ({
          plan,
          methods: taken.get(name)!.map((step) => steps[step]!.method),
        })),
      ),
    ),
  }
}
