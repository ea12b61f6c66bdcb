/** Chooses a width for every matrix, so that the weight files have the size that is asked for. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { languageModel, type OpenCompressible } from '../../models/open_model.ts'
import { defaultCacheFolder } from '../../models/source/cache.ts'
import { workName } from '../../models/source/incomplete_folder.ts'
import type { ResolvedSource } from '../../models/source/resolved.ts'
import { trimPool } from '../../tensor/index.ts'
import type { BaselineRun } from '../baselines.ts'
import { readCalibration } from '../calibration.ts'
import type { ResolvedCompressOptions } from '../compress_options.ts'
import { EngineLimit } from '../engine_limit.ts'
import { evaluationOptions, evaluationWindows, type RunHooks } from '../evaluate.ts'
import { checkFingerprint, runFingerprint, sourceHash } from '../fingerprint.ts'
import { readJournal } from '../journal.ts'
import { type Fingerprint, journalName } from '../journal_entries.ts'
import { memoryBudget } from '../memory_budget.ts'
import { describePlan } from '../plan.ts'
import type { MixReport } from '../report.ts'
import { stepsAsMethod } from '../step_sequence.ts'
import { budgetOf, checkBudget, fitMix } from './fit_mix.ts'
import { measureLevels } from './measurement.ts'
import { type MeasurementTask, measurementTask, type WantedLevels } from './measurement_task.ts'
import { type ResolvedMix, windowTokens } from './mix_options.ts'
import { openPlan, uniformRun } from './mix_plan.ts'
import { type MixChoice, type MixSpace, mixSpace, mixText } from './mix_space.ts'
import { mixedOptions } from './mixed_options.ts'
import { SensitivityTable } from './sensitivity_table.ts'
import { uniformChoices } from './uniform_mix.ts'

export interface ChosenMix {
  /** The options of the run: without a size, with an override for each matrix. */
  options: ResolvedCompressOptions
  /** Whose run it is: what was asked for, and the mix. */
  fingerprint: Fingerprint
  report: MixReport
  note: string
  /** What was measured now; absent where all was known. */
  measurement: MeasurementTask | undefined
  /** What the result is compared with, and its options. */
  uniform: BaselineRun | undefined
}

/** Name of the mix among the fields of a fingerprint: the levels in the order of the file. */
const mixField = 'mix'

/**
 * The mix for a size; nothing where none is asked for. A run that was begun goes on with the mix that it has. What is
 * measured goes to the cache stage by stage, so that it is measured once.
 *
 * @throws OptionError (`PARE_E_BUDGET`) for a size that no mix has; StateError where the output holds another run.
 */
export async function chooseMix(
  open: OpenCompressible & { resolved: ResolvedSource },
  options: ResolvedCompressOptions,
  hooks: RunHooks,
): Promise<ChosenMix | undefined> {
  const { mix, limits } = options
  if (!mix) return undefined
  const source = { ...languageModel(open), resolved: open.resolved }
  const space = mixSpace(source, options, mix)
  checkBudget(limits, space)
  // What would end the run later is found out before hours of measuring.
  space.planOf(space.items.map(({ choices }) => choices[0]!)).check()
  if (options.evaluate) evaluationWindows(source, evaluationOptions(options))
  const { sha256, samples, heldOut } = readCalibration(source, options, mix.windows)
  hooks.progress?.({ kind: 'progress', phase: 'verify', share: 0, text: 'the files of the source' })
  const asked = runFingerprint(options, source, sha256)

  const begun = begunMix(options, asked, space)
  const table = begun
    ? undefined
    : new SensitivityTable({
        source,
        options,
        mix,
        space,
        cacheFolder: defaultCacheFolder(),
        sourceHash: sourceHash(source),
        calibrationHash: sha256,
      })
  const wanted: WantedLevels = table?.wanted() ?? new Map()
  const measurement = measurementTask(source, options, mix, wanted)
  const plan = await openPlan(source, options, { space, measurement, describe: describePlan, hooks })
  hooks.progress?.({ kind: 'plan', plan })
  if (table && measurement) {
    const uniform = space.planOf(uniformChoices(space, budgetOf(limits, space)))
    const budget = memoryBudget(source, uniform, options, measurement)
    if (budget.refusal) throw budget.refusal
    const limit = new EngineLimit(budget)
    limit.enter('measure')
    try {
      await measureLevels({
        source,
        method: stepsAsMethod(options.steps, [...source.weights.infos.keys()]),
        how: mix.sensitivity,
        samples,
        windows: heldOut.map((sample) => sample.slice(0, windowTokens)),
        wanted,
        found: (levels) => table.add(levels),
        hooks,
        // The output has no folder yet, and the system's may be in memory.
        scratch: options.scratch ?? table.place(),
        split: budget.split.measurement,
      })
    } finally {
      limit.close()
      trimPool()
    }
  }
  const chosen = begun ?? fitMix(space, limits, table!.all()!)
  return {
    options: mixedOptions(options, space, chosen),
    fingerprint: { ...asked, [mixField]: chosen.map(({ level }) => level).join(',') },
    report: reportOf(options, { ...mix, windows: heldOut.length }, space, chosen),
    note: `mix: ${mixText(chosen)}${heldOut.length < mix.windows ? `; the text holds ${heldOut.length} of the ${mix.windows} windows to measure on` : ''}`,
    measurement,
    uniform: uniformRun(space, options),
  }
}

function reportOf(
  { limits }: ResolvedCompressOptions,
  { sensitivity, windows }: ResolvedMix,
  space: MixSpace,
  chosen: readonly MixChoice[],
): MixReport {
  const levels: Record<string, number> = {}
  for (const { level } of chosen) levels[level] = (levels[level] ?? 0) + 1
  return {
    bytes: budgetOf(limits, space),
    sensitivity,
    ...(sensitivity === 'measured' ? { windows, windowTokens } : {}),
    levels,
  }
}

/** The mix of the run that the output holds, where it is this one. @throws StateError where it is another one */
function begunMix(
  { output, overwrite, restart }: ResolvedCompressOptions,
  asked: Fingerprint,
  { items }: MixSpace,
): MixChoice[] | undefined {
  if (restart) return undefined
  const unfinished = join(resolve(output), workName, journalName)
  const path = existsSync(unfinished) ? unfinished : join(resolve(output), journalName)
  if (path !== unfinished && overwrite) return undefined
  const state = readJournal(path)
  if (!state) return undefined
  const { [mixField]: text, ...before } = state.fingerprint
  if (path === unfinished) checkFingerprint(before, asked, output)
  else checkFingerprint(before, asked, output, 'give --overwrite to replace it, or name another output')
  const levels = String(text).split(',')
  const chosen = items.flatMap(({ choices }, i) => choices.find(({ level }) => level === levels[i]) ?? [])
  return chosen.length === items.length && levels.length === items.length ? chosen : undefined
}
