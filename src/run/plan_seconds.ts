/** The time range of a plan: kernels are measured where that is wanted and possible, else the plan says why not. */
import type { OpenCompressible } from '../models/open_model.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { binding } from '../tensor/binding.ts'
import { AbortError, NativeError, PareError, ResourceError } from '../tensor/errors.ts'
import { threads } from '../tensor/index.ts'
import type { BaselineRun } from './baselines.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { RunHooks } from './evaluate.ts'
import { probeKernels } from './kernel_probe.ts'
import type { MeasurementTask } from './mix/measurement_task.ts'
import { runFacts } from './run_facts.ts'
import { planTarget } from './target_plan.ts'
import { type TimeRange, timeRange } from './time_plan.ts'

/** One of the two. */
export interface PlanSeconds {
  /** How long the run takes from its plan on, all of it, on this machine as busy as it is now. */
  seconds?: TimeRange
  /** Why nothing is known of it. */
  secondsMissing?: string
}

export interface PlanSecondsOptions {
  hooks?: RunHooks
  /** What the run makes to compare its result with. */
  baseline?: BaselineRun | undefined
  /** What is measured before it. */
  measurement?: MeasurementTask | undefined
}

/**
 * Measures for three seconds at most.
 *
 * @throws AbortError when `signal` stops it.
 */
export async function planSeconds(
  source: OpenCompressible,
  target: TargetPlan,
  options: ResolvedCompressOptions,
  { hooks = {}, baseline, measurement }: PlanSecondsOptions = {},
): Promise<PlanSeconds> {
  const methods = [...options.transforms, ...options.steps].map(({ method }) => method)
  const others = [...new Set(methods.filter((method) => method !== 'rtn' && method !== 'gptq'))]
  if (others.length > 0) return { secondsMissing: `not known for ${others.join(', ')}` }
  if (!options.probe) return { secondsMissing: 'not measured, as --no-probe says' }
  try {
    binding()
    const facts = runFacts(source, target, options, measurement)
    if (baseline) facts.baseline = runFacts(source, planTarget(source, baseline.options), baseline.options)
    const rates = await probeKernels(facts, hooks)
    return { seconds: timeRange(facts, rates, { threads: threads() }) }
  } catch (error) {
    if (error instanceof AbortError || !(error instanceof PareError)) throw error
    if (error instanceof NativeError) return { secondsMissing: 'not measured without the native core' }
    return {
      secondsMissing: error instanceof ResourceError ? 'not measured within --max-memory' : error.message,
    }
  }
}
