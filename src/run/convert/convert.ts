/** A model in one format becomes the same model in another: codes stay codes where the formats agree. */

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { disk } from '../../formats/disk.ts'
import { writeWhole } from '../../formats/output.ts'
import { loadConvertible, type OpenConvertible } from '../../models/load_model.ts'
import { checkFreeDisk } from '../../models/source/disk.ts'
import type { ResolvedSource } from '../../models/source/resolved.ts'
import type { TargetPlan } from '../../models/write/model_writer.ts'
import { matricesOf } from '../../models/write/target.ts'
import { AbortError } from '../../tensor/errors.ts'
import { checkFormat } from '../encoder_options.ts'
import { fetchProgress, type RunHooks } from '../evaluate.ts'
import { expandFolders } from '../folder_files.ts'
import { checkOutput, checkOutside, checkPlace, checkReplaceable, followed } from '../output_place.ts'
import { type Carriage, decideCarriages } from './carriage.ts'
import { compareWithSource } from './compare_with_source.ts'
import {
  type ConversionReport,
  type ConvertedWeight,
  carriedNames,
  relativeError,
  type Squares,
} from './conversion_report.ts'
import { convertLayout } from './convert_formats.ts'
import {
  asksForCodes,
  type ConvertOptions,
  type ResolvedConvertOptions,
  resolveConvertOptions,
} from './convert_options.ts'
import { type Conversion, planConversion } from './convert_plan.ts'
import { formatNotes } from './format_notes.ts'
import { survey } from './survey.ts'
import { publishFolder, removeUnfinished, unfinishedFolder } from './unfinished_folder.ts'
import { writeConverted } from './write_converted.ts'

/**
 * Writes a model in another format and compares what a reader finds there with the source, value by value. Weights go
 * one after another: memory is bounded by the largest linear weight, some bytes for each of its values. The output
 * appears when it is whole; whatever fails, or `signal` stops, leaves nothing behind, and what a process that was killed
 * left goes with the next conversion to the same place.
 *
 * @throws OptionError before anything is read where an option cannot be, and where the target cannot hold the source;
 * QualityError (`PARE_E_LOSSY`) with `lossless` where a value would differ; ResourceError where the disk is too full.
 * @example
 * const { lossless } = await convert({ source: 'model-gptq', target: 'mlx', output: 'model-mlx' })
 */
export async function convert(options: ConvertOptions, hooks: RunHooks = {}): Promise<ConversionReport> {
  const begin = performance.now()
  const resolved = resolveConvertOptions(options)
  const output = followed(resolve(resolved.output))
  removeUnfinished(output)
  checkOutput(output, resolved.overwrite, false)
  checkPlace(output)
  const source = await loadConvertible(resolved.source, {
    signal: hooks.signal,
    offline: resolved.offline || undefined,
    progress: fetchProgress(hooks.progress),
  })
  try {
    checkFormat(source, resolved.target, resolved.layout.format)
    checkReplaceable(output, [source.resolved.path, process.cwd()])
    checkOutside(output, source.resolved.path)
    const conversion = await prepare(source, resolved, hooks)
    const target = planConversion(source, conversion)
    target.check()
    await checkFreeDisk(existingFolder(output), target.fileBytes, '--output', 'another folder')
    const folder = unfinishedFolder(output)
    try {
      disk().makeFolder(folder)
      await write(source, target, conversion.carriages, folder, hooks)
      const weights = await compareWithSource(source, folder, target, conversion, hooks)
      const report = reportOf(source, target, conversion, weights)
      if (hooks.signal?.aborted) throw new AbortError()
      publishFolder(folder, output)
      return {
        ...report,
        output,
        files: expandFolders(output, readdirSync(output)).sort(),
        seconds: (performance.now() - begin) / 1000,
      }
    } catch (error) {
      disk().remove(folder)
      throw error
    }
  } finally {
    source.close()
  }
}

/** What there is, and how each weight goes over. */
async function prepare(
  source: OpenConvertible,
  given: ResolvedConvertOptions,
  hooks: RunHooks,
): Promise<Conversion> {
  const { layout, type } = given
  const isGguf = source.format === 'gguf'
  const matrices = source.family === 'image' ? source.source.matrices : matricesOf(source)
  const keepsAll = layout.format === 'pare' || (layout.format === 'gguf' && isGguf)
  const levels = layout.levels !== undefined && type === undefined && (!keepsAll || asksForCodes(given))
  const weights = await survey(source.weights, matrices, { levels }, hooks)
  const options = withZeros(given, weights)
  const carriages = decideCarriages(weights, { options, isGguf })
  return { options, weights, carriages }
}

/** Zeros of 0 need the second version of GPTQ, where nobody asked for the first. */
function withZeros(options: ResolvedConvertOptions, weights: Conversion['weights']): ResolvedConvertOptions {
  const { layout, format, target } = options
  const isLow = weights.some(({ levels }) => levels?.zeros?.least === 0)
  return layout.format === 'gptq' && format === undefined && isLow
    ? { ...options, layout: convertLayout(target, 'gptq_v2') }
    : options
}

async function write(
  source: OpenConvertible & { resolved: ResolvedSource },
  target: TargetPlan,
  carriages: ReadonlyMap<string, Carriage>,
  folder: string,
  hooks: RunHooks,
): Promise<void> {
  const writer = target.create(folder)
  try {
    await writeConverted(source, target, carriages, writer, hooks)
    writer.finish()
  } catch (error) {
    writer.abort()
    throw error
  }
  for (const file of source.resolved.licenseFiles)
    writeWhole(join(folder, basename(file)), readFileSync(file))
}

function reportOf(
  source: OpenConvertible,
  target: TargetPlan,
  { options }: Conversion,
  found: readonly (ConvertedWeight & Squares)[],
): Omit<ConversionReport, 'output' | 'files' | 'seconds'> {
  const twice = found.filter(({ carried }) => carried === 'requantised')
  const twiceError = relativeError(twice)
  const count = (carried: ConvertedWeight['carried']) => found.filter((one) => one.carried === carried).length
  return {
    ...{ source: options.source, target: options.target, format: options.layout.format },
    lossless: found.every(({ carried }) => carried === 'lossless'),
    counts: Object.fromEntries(
      carriedNames.map((carried) => [carried, count(carried)]),
    ) as ConversionReport['counts'],
    relativeError: relativeError(found),
    ...(twice.length > 0 ? { requantisedError: twiceError } : {}),
    ...{ bytesSource: source.weights.fileBytes, bytes: target.fileBytes },
    weights: found.map(({ squares: _, energy: __, ...weight }) => weight),
    warnings:
      twice.length > 0
        ? [
            `double quantisation: ${twice.length === 1 ? '1 weight was' : `${twice.length} weights were`} codes already and rounded again, relative error ${twiceError.toPrecision(3)}; start from the float model where there is one`,
          ]
        : [],
    notes: [...target.notes, ...foldedNote(source), ...formatNotes(options, target)],
  }
}

const foldedNote = (source: OpenConvertible): string[] =>
  source.family === 'image' && source.folded > 0
    ? [
        `the batch norms of ${source.folded} convolutions are inside of their weights, and the values are compared so`,
      ]
    : []

/** The nearest folder above a place that is there. */
function existingFolder(path: string): string {
  const parent = dirname(path)
  return existsSync(path) && statSync(path).isDirectory()
    ? path
    : parent === path
      ? path
      : existingFolder(parent)
}
