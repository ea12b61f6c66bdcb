/** The plan of a mix before its data is seen. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { OpenLanguageModel } from '../../models/open_model.ts'
import { defaultCacheFolder } from '../../models/source/cache.ts'
import type { ResolvedSource } from '../../models/source/resolved.ts'
import type { TargetPlan } from '../../models/write/model_writer.ts'
import { NativeError } from '../../tensor/errors.ts'
import type { BaselineRun } from '../baselines.ts'
import { calibrationFiles } from '../calibration.ts'
import type { ResolvedCompressOptions } from '../compress_options.ts'
import type { RunHooks } from '../evaluate.ts'
import { hashOfFiles, sourceHash } from '../fingerprint.ts'
import type { CompressionPlan } from '../plan.ts'
import { planSeconds } from '../plan_seconds.ts'
import { planTarget } from '../target_plan.ts'
import { budgetOf, checkBudget, fitMix, sizeRange } from './fit_mix.ts'
import { type MeasurementTask, measurementTask } from './measurement_task.ts'
import { type MixSpace, mixSpace } from './mix_space.ts'
import { mixedOptions } from './mixed_options.ts'
import { SensitivityTable } from './sensitivity_table.ts'
import { uniformChoices, uniformMix } from './uniform_mix.ts'

type Source = OpenLanguageModel & { resolved: ResolvedSource }
type Describe = (
  source: OpenLanguageModel,
  target: TargetPlan,
  options: ResolvedCompressOptions,
  measurement?: MeasurementTask,
) => CompressionPlan

export interface MixPlanning {
  space: MixSpace
  /** Absent where all is known. */
  measurement: MeasurementTask | undefined
  describe: Describe
  hooks: RunHooks
}

/**
 * The plan where a size is asked for: that of the mix where the cache knows all that it is chosen by, else one that
 * leaves it open.
 */
export async function planMix(
  source: Source,
  options: ResolvedCompressOptions,
  describe: Describe,
  hooks: RunHooks,
): Promise<CompressionPlan> {
  const mix = options.mix!
  const space = mixSpace(source, options, mix)
  checkBudget(options.limits, space)
  const table = tableOf(source, options, space)
  const sensitivities = table?.all()
  if (!sensitivities) {
    const wanted = table?.wanted() ?? new Map(space.items.map(({ name, choices }) => [name, choices]))
    const measurement = measurementTask(source, options, mix, wanted)
    return openPlan(source, options, { space, measurement, describe, hooks })
  }
  const mixed = mixedOptions(options, space, fitMix(space, options.limits, sensitivities))
  const target = planTarget(source, mixed)
  return {
    ...describe(source, target, mixed),
    ...(await planSeconds(source, target, mixed, { hooks, baseline: comparedWith(space, options) })),
  }
}

/**
 * The plan before the data decides: the size as a range, and the matrices together. What comes after the measurement is
 * counted with the uniform mix of the size.
 */
export async function openPlan(
  source: Source,
  options: ResolvedCompressOptions,
  { space, measurement, describe, hooks }: MixPlanning,
): Promise<CompressionPlan> {
  const { least, most } = sizeRange(options.limits, space)
  const { levels, sensitivity } = options.mix!
  const names = new Set(space.items.map(({ name }) => name))
  const unit = typeof levels[0] === 'number' ? ' bits' : ''
  const type = `${levels.slice(0, -1).join(', ')}${levels.length > 1 ? ' or ' : ''}${levels.at(-1)}${unit}`
  const chosen = uniformChoices(space, most)
  const uniform = space.planOf(chosen)
  const tensors = uniform.tensors.map(({ note, ...tensor }) =>
    names.has(tensor.name) ? { ...tensor, type } : { ...tensor, ...(note ? { note } : {}) },
  )
  const plan = describe(source, { ...uniform, tensors }, options, measurement)
  const time = measurement
    ? await planSeconds(source, uniform, mixedOptions(options, space, chosen), {
        hooks,
        measurement,
        baseline: comparedWith(space, options),
      })
    : { secondsMissing: 'told with the mix, for which nothing is left to measure' }
  const how =
    sensitivity === 'measured'
      ? 'by the KL to the source with one matrix replaced'
      : 'by the share of its output that a matrix loses'
  return {
    ...plan,
    ...time,
    bytesRange: { least, most },
    notes: [
      ...plan.notes,
      `the data decides which of ${names.size} matrices gets which width, ${how}; the weight files will have ${least} to ${most} bytes`,
    ],
  }
}

/** What a result is compared with; nothing where no uniform mix is so small. */
export function uniformRun(space: MixSpace, options: ResolvedCompressOptions): BaselineRun | undefined {
  const uniform = uniformMix(space, budgetOf(options.limits, space))
  return uniform && { name: uniform.name, options: mixedOptions(options, space, uniform.chosen) }
}

const comparedWith = (space: MixSpace, options: ResolvedCompressOptions): BaselineRun | undefined =>
  options.evaluate && options.baselines ? uniformRun(space, options) : undefined

/** What the cache holds; only where it holds anything the source is read. */
function tableOf(
  source: Source,
  options: ResolvedCompressOptions,
  space: MixSpace,
): SensitivityTable | undefined {
  const cacheFolder = defaultCacheFolder()
  if (!existsSync(join(cacheFolder, 'sensitivities'))) return undefined
  try {
    return new SensitivityTable({
      source,
      options,
      mix: options.mix!,
      space,
      cacheFolder,
      sourceHash: sourceHash(source),
      calibrationHash: hashOfFiles(calibrationFiles(options)),
    })
  } catch (error) {
    // Without the core nothing says what its kernels would measure.
    if (error instanceof NativeError) return undefined
    throw error
  }
}
