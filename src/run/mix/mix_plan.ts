/** The plan of a mix before its data is seen. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { OpenModel } from '../../models/open_model.ts'
import { defaultCacheFolder } from '../../models/source/cache.ts'
import type { ResolvedSource } from '../../models/source/resolved.ts'
import type { TargetPlan } from '../../models/write/model_writer.ts'
import { NativeError } from '../../tensor/errors.ts'
import { calibrationFiles } from '../calibration.ts'
import type { ResolvedCompressOptions } from '../compress_options.ts'
import { hashOfFiles, sourceHash } from '../fingerprint.ts'
import type { CompressionPlan } from '../plan.ts'
import { planTarget } from '../target_plan.ts'
import { checkBudget, fitMix, sizeRange } from './fit_mix.ts'
import { type MixSpace, mixSpace } from './mix_space.ts'
import { mixedOptions } from './mixed_options.ts'
import { SensitivityTable } from './sensitivity_table.ts'
import { uniformMix } from './uniform_mix.ts'

type Describe = (target: TargetPlan, options: ResolvedCompressOptions) => CompressionPlan

/**
 * The plan where a size is asked for: `whole` of the mix where the cache knows all that it is chosen by, else `open`.
 */
export async function planMix(
  source: OpenModel & { resolved: ResolvedSource },
  options: ResolvedCompressOptions,
  { open, whole }: { open: Describe; whole(...run: Parameters<Describe>): Promise<CompressionPlan> },
): Promise<CompressionPlan> {
  const space = mixSpace(source, options, options.mix!)
  checkBudget(options.limits, space)
  const sensitivities = known(source, options, space)
  if (!sensitivities) return openPlan(space, options, open)
  const mixed = mixedOptions(options, space, fitMix(space, options.limits, sensitivities))
  return whole(planTarget(source, mixed), mixed)
}

/** The plan before the data decides: the size as a range, and the matrices together. */
export function openPlan(
  space: MixSpace,
  options: ResolvedCompressOptions,
  describe: Describe,
): CompressionPlan {
  const { least, most } = sizeRange(options.limits, space)
  const chosen = uniformMix(space, most)?.chosen ?? space.items.map(({ choices }) => choices[0]!)
  const { levels, sensitivity } = options.mix!
  const names = new Set(space.items.map(({ name }) => name))
  const type = `${levels.slice(0, -1).join(', ')}${levels.length > 1 ? ' or ' : ''}${levels.at(-1)}${options.target === 'gguf' ? '' : ' bits'}`
  const uniform = space.planOf(chosen)
  const plan = describe(
    {
      ...uniform,
      tensors: uniform.tensors.map(({ note, ...tensor }) =>
        names.has(tensor.name) ? { ...tensor, type } : { ...tensor, ...(note ? { note } : {}) },
      ),
    },
    options,
  )
  const how =
    sensitivity === 'measured'
      ? 'by the KL to the source with one matrix replaced'
      : 'by the share of its output that a matrix loses'
  return {
    ...plan,
    bytesRange: { least, most },
    secondsMissing: 'not known before the matrices are measured',
    notes: [
      ...plan.notes,
      `the data decides which of ${names.size} matrices gets which width, ${how}; the weight files will have ${least} to ${most} bytes`,
    ],
  }
}

/** What the cache holds, where that is all. Only then the source is read. */
function known(
  source: OpenModel & { resolved: ResolvedSource },
  options: ResolvedCompressOptions,
  space: MixSpace,
) {
  const cacheFolder = defaultCacheFolder()
  if (!existsSync(join(cacheFolder, 'sensitivities'))) return undefined
  try {
    return tableOf(source, options, space, cacheFolder).all()
  } catch (error) {
    // Without the core nothing says what its kernels would measure.
    if (error instanceof NativeError) return undefined
    throw error
  }
}

const tableOf = (
  source: OpenModel & { resolved: ResolvedSource },
  options: ResolvedCompressOptions,
  space: MixSpace,
  cacheFolder: string,
): SensitivityTable =>
  new SensitivityTable({
    source,
    options,
    mix: options.mix!,
    space,
    cacheFolder,
    sourceHash: sourceHash(source),
    calibrationHash: hashOfFiles(calibrationFiles(options)),
  })
