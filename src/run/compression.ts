/** A compression from the plan to the published result, over as many sittings as it takes. */
import { readdirSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { writeWhole } from '../formats/output.ts'
import { type Edited, withExactTypes } from '../models/edited_model.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { ResolvedSource } from '../models/source/resolved.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { AbortError, FormatError, OptionError } from '../tensor/errors.ts'
import { assembleResult } from './assemble_result.ts'
import { type BaselineRun, baselineOf, compareBaseline } from './baselines.ts'
import { readCalibration } from './calibration.ts'
import { checkStages } from './check_stages.ts'
import { commandArguments, needsRecipe, recipeFile } from './command_line.ts'
import type { CompressOptions, ResolvedCompressOptions } from './compress_options.ts'
import { compareResult, reportFiles, reportOf, reportOfRun, writeReport } from './compression_report.ts'
import { EngineLimit } from './engine_limit.ts'
import { evaluationTexts, type RunHooks } from './evaluate.ts'
import { runFingerprint } from './fingerprint.ts'
import { MatrixCompression, remarkLines } from './matrix_compression.ts'
import { type MemoryBudget, memoryBudget } from './memory_budget.ts'
import { compressMissing } from './missing_stages.ts'
import type { ChosenMix } from './mix/choose_mix.ts'
import { mixedRecipe, withoutSize } from './mix/mixed_options.ts'
import { tuneResult } from './model_tuning.ts'
import { describePlan } from './plan.ts'
import { planSeconds } from './plan_seconds.ts'
import type { Recipe } from './recipe.ts'
import { resolvedRecipe, weightRules } from './recipe_options.ts'
import type { Baseline, CompressionReport } from './report.ts'
import { readReport } from './report_file.ts'
import { RunFolder } from './run_folder.ts'
import { settledTarget } from './settled_target.ts'
import { checkShardSizes } from './shards.ts'
import { modelTunerOf, modelTuningNote, tuningNote } from './step_tuning.ts'
import { planTarget } from './target_plan.ts'
import { Timeline } from './timeline.ts'
import { needsSamples, outlinedModel, transformedModel } from './transform_model.ts'
import { verifyCompressed } from './verify/verify_compressed.ts'

type Source = OpenCompressible & { resolved: ResolvedSource }

/** One compression, whose source is open. */
export class Compression {
  private readonly options: ResolvedCompressOptions
  private readonly hooks: RunHooks
  /** What the result is compared with. */
  private readonly source: Source
  /** What is compressed: the source, or what transforms make of it; of these the names and types are known before. */
  private model: Source & Edited
  private readonly timeline: Timeline
  private readonly command: readonly string[]
  /** What of the options flags cannot say. */
  private readonly recipe: Recipe | undefined
  private readonly mix: ChosenMix | undefined
  private readonly target: TargetPlan
  private matrices: MatrixCompression
  private readonly memory: MemoryBudget
  private readonly limit: EngineLimit
  private readonly notes: string[] = []
  /** Seconds of the sittings before this one. */
  private sooner = 0

  constructor(
    options: ResolvedCompressOptions,
    hooks: RunHooks,
    source: Source,
    timeline: Timeline,
    given: CompressOptions,
    mix?: ChosenMix,
  ) {
    this.options = options
    this.hooks = hooks
    this.source = source
    this.timeline = timeline
    this.mix = mix
    // A recipe beside it that holds the mix asks for no size any more.
    this.command = commandArguments(mix && needsRecipe(given) ? withoutSize(given) : given)
    this.recipe = mix
      ? mixedRecipe(options)
      : needsRecipe(given)
        ? weightRules(resolvedRecipe(options))
        : undefined
    this.model = outlinedModel(source, options)
    this.target = planTarget(this.model, options)
    this.matrices = new MatrixCompression(options, hooks, this.model, this.target)
    this.memory = memoryBudget(this.model, this.target, options, mix?.measurement)
    this.limit = new EngineLimit(this.memory)
  }

  async run(): Promise<CompressionReport> {
    try {
      return await this.runWithin()
    } finally {
      this.limit.close()
    }
  }

  private async runWithin(): Promise<CompressionReport> {
    const { options, source, hooks } = this
    let { target } = this
    const begun = !options.overwrite && !options.restart && RunFolder.hasBegun(options.output)
    this.limit.enter('start')
    const time = begun
      ? { secondsMissing: 'not measured, as the output holds a run already' }
      : await planSeconds(this.model, target, options, { hooks, baseline: baselineOf(options, this.mix) })
    this.timeline.end()
    let description = { ...describePlan(this.model, target, options, this.mix?.measurement), ...time }
    hooks.progress?.({ kind: 'plan', plan: description })
    if (this.memory.refusal) throw this.memory.refusal
    this.notes.push(...description.notes)
    if (this.mix) this.note(this.mix.note)
    const isCalibrated = this.matrices.method.needs.length > 0 || needsSamples(options)
    if (isCalibrated) this.timeline.begin('calibrate')
    const calibration = isCalibrated ? readCalibration(source, options) : undefined
    if (calibration?.note) this.note(`calibration: ${calibration.note}`)
    // Texts are read before the work starts: a run must not die of a wrong path at its end.
    const texts = options.evaluate ? evaluationTexts(source, options) : undefined
    target.check()
    const folder = RunFolder.open(options.output, {
      fingerprint: this.mix?.fingerprint ?? this.fingerprint(calibration?.sha256),
      overwrite: options.overwrite,
      restart: options.restart,
    })
    if (folder === 'done') {
      this.note('the output holds this very run, finished; --restart does it again')
      return readReport(resolve(options.output))
    }
    this.sooner = folder.seconds
    try {
      checkStages(folder, source.model.stages, source.weights)
      if (!folder.state.result) checkShardSizes(folder.work, folder.stages)
      if (!folder.state.publish) {
        await this.transform(folder, calibration?.samples)
        await this.compressStages(folder, calibration?.samples)
        target = settledTarget(this.model, options, target, folder.stages)
        if (target !== this.target) description = { ...describePlan(this.model, target, options), ...time }
        if (!folder.hasResult(reportFiles)) this.assemble(folder, target)
        this.tune(folder, target, calibration?.samples)
        const verification = options.verify ? await this.verify(folder) : undefined
        for (const text of remarkLines(folder.stages)) this.note(text)
        for (const text of [tuningNote(folder.stages), modelTuningNote(folder.state)])
          if (text) this.note(text)
        const context = {
          source,
          options,
          plan: description,
          hooks,
          timeline: this.timeline,
          memory: this.memory,
          limit: this.limit,
          note: (text: string) => this.note(text),
        }
        const found = texts && (await compareResult(this.resultPath(folder), texts, folder, context))
        const baseline = found && baselineOf(options, this.mix)
        const baselines = baseline && [await this.compare(baseline, folder)]
        const report: CompressionReport = {
          ...reportOf(context, calibration),
          ...found,
          ...(verification ? { verification } : {}),
          ...(this.mix ? { mix: this.mix.report } : {}),
          ...(baselines ? { baselines } : {}),
          seconds: this.elapsed(),
          ...reportOfRun(folder),
          notes: this.notes,
          command: this.command,
        }
        writeReport(folder.result, report, source)
        if (hooks.signal?.aborted) throw new AbortError()
        folder.removeBaseline()
      }
      folder.publish(target.target === 'gguf' ? basename(this.resultPath(folder)) : 'config.json')
      return readReport(folder.output)
    } catch (error) {
      // Where the input cannot be used there is nothing to go on with; a whole result is never thrown away.
      const unusable = error instanceof FormatError || error instanceof OptionError
      const done = folder.leave(!unusable || folder.state.result !== undefined)
      if (done > 0)
        this.note(
          `${done} of ${source.model.stages.length} stages are kept: the same command goes on, --restart discards them`,
        )
      throw error
    }
  }

  private fingerprint(calibration: string | undefined) {
    const { options, source, hooks } = this
    hooks.progress?.({ kind: 'progress', phase: 'verify', share: 0, text: 'the files of the source' })
    return runFingerprint(options, source, calibration)
  }

  /** Opens the result as others will. A failed run keeps it, so that the same command verifies it again. */
  private async verify(folder: RunFolder) {
    this.timeline.begin('verify')
    this.limit.enter('verify')
    const names = folder.state.result!.files.map(({ name }) => name)
    const found = await verifyCompressed(
      this.resultPath(folder),
      withExactTypes(this.model),
      folder,
      names,
      this.hooks,
    )
    this.timeline.end()
    return found
  }

  private async compare(baseline: BaselineRun, { work }: RunFolder): Promise<Baseline> {
    const { source, hooks, timeline } = this
    const compared = await compareBaseline(baseline, work, hooks, (options, own) =>
      new Compression(options, own, source, new Timeline(), {
        source: options.source,
        output: options.output,
      }).run(),
    )
    timeline.end()
    return compared
  }

  /** Rewrites the model, where that is asked for. */
  private async transform(folder: RunFolder, samples: readonly Uint32Array[] | undefined): Promise<void> {
    const { options, hooks, source, target } = this
    if (options.transforms.length === 0) return
    this.limit.enter('compress')
    this.model = await transformedModel(source, folder, {
      ...{ target, samples, options, hooks },
      activationBytes: this.memory.split.activationBytes,
      elapsed: () => this.elapsed(),
    })
    for (const { method, notes } of folder.state.transforms)
      for (const text of notes) this.note(`${method}: ${text}`)
    this.matrices = new MatrixCompression(options, hooks, this.model, target)
  }

  /** Compresses what earlier sittings did not finish. */
  private async compressStages(
    folder: RunFolder,
    samples: readonly Uint32Array[] | undefined,
  ): Promise<void> {
    const { stages } = this.source.model
    const from = folder.stages.length
    if (from > 0)
      this.hooks.progress?.({
        kind: 'note',
        text: `goes on: ${from} of ${stages.length} stages were finished before`,
      })
    if (from === stages.length) return
    this.limit.enter('compress')
    await compressMissing(this.matrices, folder, {
      stages: stages.length,
      samples: this.matrices.method.needs.length > 0 ? samples : undefined,
      scratch: this.options.scratch,
      activationBytes: this.memory.split.activationBytes,
      elapsed: () => this.elapsed(),
    })
  }

  /** Trains the result as a whole, where a step asks for it, and puts it together again. */
  private tune(folder: RunFolder, target: TargetPlan, samples: readonly Uint32Array[] | undefined): void {
    const { source, options, hooks } = this
    const names = source.model.stages.flatMap(({ weights }) => weights)
    const tuner = modelTunerOf(options.steps, names, options.seed)
    if (!tuner || folder.state.tuned) return
    this.limit.enter('compress')
    folder.addTuned(
      tuneResult(folder, {
        ...{ source, target, tuner, hooks },
        path: this.resultPath(folder),
        samples: samples!,
        elapsed: () => this.elapsed(),
      }),
    )
    this.assemble(folder, target)
  }

  /** Seconds of work, over all sittings. */
  private elapsed(): number {
    return this.sooner + this.timeline.seconds
  }

  /** The model of the result. */
  private resultPath({ state, result }: RunFolder): string {
    if (this.target.target !== 'gguf') return result
    return join(result, (state.publish ?? readdirSync(result)).find((name) => name.endsWith('.gguf'))!)
  }

  private assemble(folder: RunFolder, target: TargetPlan): void {
    this.limit.enter('write')
    assembleResult(this.model, target, folder, this.hooks)
    if (this.recipe) writeWhole(join(folder.result, recipeFile), `${JSON.stringify(this.recipe, null, 2)}\n`)
    folder.addResult(this.elapsed())
  }

  private note(text: string): void {
    // Two transforms of one kind may say the same.
    if (this.notes.includes(text)) return
    this.notes.push(text)
    this.hooks.progress?.({ kind: 'note', text })
  }
}
