/** The report of a compression: its figures, the comparison with the source, and the files that tell of them. */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { writeWhole } from '../formats/output.ts'
import { openCompressible } from '../models/load_model.ts'
import {
  languageModel,
  type OpenCompressible,
  type OpenLanguageModel,
  textEncoder,
} from '../models/open_model.ts'
import type { ResolvedSource } from '../models/source/resolved.ts'
import type { Calibration } from './calibration.ts'
import { compareEncoders } from './compare_vectors.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { EngineLimit } from './engine_limit.ts'
import { checkTokenizers, type EvaluationTexts, evaluateOpen, type RunHooks } from './evaluate.ts'
import { expandFolders } from './folder_files.ts'
import { generationSpeed, unmeasured } from './generation_speed.ts'
import { journalName } from './journal_entries.ts'
import type { MemoryBudget } from './memory_budget.ts'
import { modelCard } from './model_card.ts'
import type { CompressionPlan } from './plan.ts'
import { type CompressionReport, peakMemory } from './report.ts'
import { reportName, reportText } from './report_file.ts'
import { reportPage } from './report_page/report_page.ts'
import type { RunFolder } from './run_folder.ts'
import { sideBySide, tooLarge } from './side_by_side.ts'
import { stepMethod } from './step_methods.ts'
import { tuningReport } from './step_tuning.ts'
import type { Timeline } from './timeline.ts'
import { transformReports } from './transform_model.ts'
import { version } from './version.ts'

type Source = OpenCompressible & { resolved: ResolvedSource }

export interface ReportContext {
  source: Source
  options: ResolvedCompressOptions
  plan: CompressionPlan
  hooks: RunHooks
  timeline: Timeline
  memory: MemoryBudget
  limit: EngineLimit
  /** Says something worth reading. */
  note(text: string): void
}

/** Files that `writeReport` adds to a result. */
export const reportFiles = ['README.md', 'report.html', reportName] as const

/** The result at `path` beside its source: metrics, and what both write. */
export async function compareResult(
  path: string,
  texts: EvaluationTexts,
  { work }: { work: string },
  { source, options, hooks, timeline, memory, limit, note }: ReportContext,
): Promise<Partial<CompressionReport>> {
  const result = openCompressible(path)
  try {
    checkTokenizers(result, source)
    timeline.begin('evaluate')
    limit.enter('evaluate')
    if ('passages' in texts) {
      const { passages } = texts
      if (passages.note) note(`evaluation: ${passages.note}`)
      const embeddings = await compareEncoders(
        textEncoder(result),
        textEncoder(source),
        passages.texts,
        hooks,
      )
      return { embeddings }
    }
    const [model, against] = [languageModel(result), languageModel(source)]
    const { metrics, notes } = await evaluateOpen(
      model,
      against,
      texts.windows,
      hooks,
      options.scratch ?? work,
      memory.split.evaluation,
    )
    for (const text of notes) note(`evaluation: ${text}`)
    const reason = options.sideBySide === undefined ? tooLarge(source) : undefined
    for (const text of [reason, unmeasured(options, source)]) if (text) note(text)
    limit.enter('sample')
    const written = memory.sideBySide ? await sideBySide(against, model, hooks) : {}
    limit.enter('speed')
    const speed = memory.speed ? await speedOf(against, model, options, hooks) : undefined
    if (memory.speed && !speed) note('speed is not measured: the context has no room for a text')
    return { ...metrics, ...written, ...(speed ? { speed } : {}) }
  } finally {
    result.close()
    timeline.end()
  }
}

const speedOf = (
  source: OpenLanguageModel,
  result: OpenLanguageModel,
  { steps }: ResolvedCompressOptions,
  hooks: RunHooks,
) =>
  generationSpeed(source, result, {
    ...hooks,
    pruned: steps.some(({ method }) => stepMethod(method).kind === 'pruner'),
  })

/** What is known without the result. */
export function reportOf(
  { source, options, plan, timeline, memory }: ReportContext,
  calibration: Calibration | undefined,
): Omit<CompressionReport, 'seconds' | 'layers' | 'files' | 'notes'> {
  return {
    source: source.resolved.spec,
    ...(source.resolved.sha256 ? { sourceSha256: source.resolved.sha256 } : {}),
    output: options.output,
    family: source.family,
    method: options.method,
    target: options.target,
    format: options.format,
    ...(plan.programs.length > 0 ? { programs: plan.programs } : {}),
    bytes: plan.bytes,
    bytesSource: plan.bytesSource,
    bitsPerWeight: plan.bitsPerWeight,
    fileBitsPerWeight: plan.fileBitsPerWeight,
    peakMemoryBytes: peakMemory(),
    plannedMemoryBytes: memory.peakMemoryBytes,
    ...(memory.maxMemory === undefined ? {} : { maxMemoryBytes: memory.maxMemory }),
    ...(calibration
      ? {
          calibration: {
            files: calibration.files.map((file) => basename(file)),
            samples: calibration.samples.length,
            length: options.length,
            seed: options.seed,
            tokens: calibration.samples.length * options.length,
            sha256: calibration.sha256,
          },
        }
      : {}),
    version,
    timeline: timeline.entries,
    memory: timeline.memory,
  }
}

/** What a run tells whose result is whole: its layers, what was done to the model as a whole, and the files. */
export function reportOfRun({
  state,
  result,
}: Pick<RunFolder, 'state' | 'result'>): Pick<
  CompressionReport,
  'layers' | 'transforms' | 'tuning' | 'files'
> {
  const tuning = tuningReport(state)
  const written = expandFolders(result, readdirSync(result))
  return {
    layers: state.stages.flatMap(({ layers }) => layers),
    ...(state.transforms.length > 0 ? { transforms: transformReports({ state }) } : {}),
    ...(tuning.length > 0 ? { tuning } : {}),
    files: [...new Set([...written, ...reportFiles, journalName])].sort(),
  }
}

/** Writes the model card, the page and the record. */
export function writeReport(
  folder: string,
  report: CompressionReport,
  { name, family, resolved }: Source,
): void {
  const licences = resolved.licenseFiles.map((file) => ({
    file: basename(file),
    text: readFileSync(file, 'utf8'),
  }))
  writeWhole(join(folder, 'README.md'), modelCard(report, { name, family, licences }))
  writeWhole(join(folder, 'report.html'), reportPage(report))
  writeWhole(join(folder, reportName), reportText(report))
}
