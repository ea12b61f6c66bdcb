/** Another way to store the same source, compressed and measured like the result, to hold the result against. */
import { join } from 'node:path'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { RunHooks } from './evaluate.ts'
import type { ChosenMix } from './mix/choose_mix.ts'
import type { Baseline, CompressionReport } from './report.ts'
import { baselineName } from './run_folder.ts'
import { makesTree } from './step_chain.ts'
import type { ResolvedStep } from './weight_step.ts'

/** What a result is compared with; a run of its own. */
export interface BaselineRun {
  name: string
  options: ResolvedCompressOptions
}

/**
 * The uniform mix of the same size where a size is asked for, else round to nearest on the same plan; nothing where the
 * result is that itself, is not evaluated, or no comparison is wanted.
 */
export function baselineOf(
  options: ResolvedCompressOptions,
  mix: ChosenMix | undefined,
): BaselineRun | undefined {
  if (!options.evaluate || !options.baselines) return undefined
  if (mix) return mix.uniform
  if (options.method === 'rtn') return undefined
  if (makesTree(options.steps)) return undefined
  const [first, ...others] = options.steps
  return {
    name: 'round to nearest',
    // Of the source as it is: what a transform gains is a part of the comparison.
    options: { ...options, method: 'rtn', transforms: [], steps: [nearest(first), ...others.map(nearest)] },
  }
}

const nearest = (step: ResolvedStep): ResolvedStep => ({ ...step, method: 'rtn', actOrder: false })

/**
 * Runs a baseline inside the folder of the run, so that it goes on too where it was stopped.
 *
 * @param compress runs options that are resolved, on the model that is open
 */
export async function compareBaseline(
  { name, options }: BaselineRun,
  work: string,
  hooks: RunHooks,
  compress: (options: ResolvedCompressOptions, hooks: RunHooks) => Promise<CompressionReport>,
): Promise<Baseline> {
  const { maxMemory } = options.limits
  const { bytes, bitsPerWeight, kl, perplexity, embeddings } = await compress(
    {
      ...options,
      output: join(work, baselineName),
      limits: maxMemory === undefined ? {} : { maxMemory },
      baselines: false,
      verify: false,
      probe: false,
      sideBySide: false,
      speed: false,
      overwrite: false,
      restart: false,
    },
    quietly(name, options.method === 'rtn' ? 0.2 : 0.7, hooks),
  )
  return {
    name,
    bytes,
    bitsPerWeight,
    ...(kl === undefined ? {} : { kl }),
    ...(perplexity === undefined ? {} : { perplexity }),
    ...(embeddings === undefined ? {} : { embeddings }),
  }
}

/**
 * One phase for all that a baseline does; its plan and its notes are not those of the result.
 *
 * @param compressing share of the phase that compressing takes, the rest is evaluating
 */
const quietly = (name: string, compressing: number, { progress, signal }: RunHooks): RunHooks => ({
  signal,
  progress(event) {
    if (event.kind !== 'progress' || (event.phase !== 'compress' && event.phase !== 'evaluate')) return
    const share =
      event.phase === 'compress' ? compressing * event.share : compressing + (1 - compressing) * event.share
    progress?.({ kind: 'progress', phase: 'baseline', share, text: name })
  },
})
