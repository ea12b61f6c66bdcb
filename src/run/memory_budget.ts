/** Splits a run into pieces that stay below `--max-memory`, and refuses it where none are small enough. */
import { statSync } from 'node:fs'
import { defaultCalibrationText, defaultEvaluationText } from '../calibrate/text_samples.ts'
import { type EvaluationSplit, usualSplit } from '../metrics/language.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { ResourceError } from '../tensor/errors.ts'
import { sizeText } from './byte_size.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import { measuresSpeed } from './generation_speed.ts'
import { poolPart } from './memory_parts.ts'
import {
  freeSplit,
  type MemoryPhase,
  type MemorySplit,
  type MemoryTask,
  memoryPhases,
  peakOf,
} from './memory_plan.ts'
import type { MeasurementTask } from './mix/measurement_task.ts'
import { tooLarge } from './side_by_side.ts'
import { stepsAsMethod } from './step_sequence.ts'
import { modelTunerOf, tunerOf } from './step_tuning.ts'
import { needsSamples } from './transform_model.ts'
import type { ResolvedTransform } from './weight_step.ts'

/** How a run keeps to its memory. */
export interface MemoryBudget {
  /** What was asked for. */
  maxMemory: number | undefined
  phases: readonly MemoryPhase[]
  /** Upper bound of resident memory. */
  peakMemoryBytes: number
  split: MemorySplit
  /** Whether source and result also continue some prompts. */
  sideBySide: boolean
  /** Whether tokens a second of both are measured. */
  speed: boolean
  notes: readonly string[]
  /** Why the run cannot keep to it. */
  refusal: ResourceError | undefined
}

const MiB = 2 ** 20

/** Rows of a head that are worth a product of their own, in bytes. */
const smallestBlock = 8 * MiB

/**
 * The budget of a run on an open model; nothing is read but headers and the sizes of texts.
 *
 * @param measurement what is measured before the run, if anything
 */
export function memoryBudget(
  source: OpenCompressible,
  target: Pick<TargetPlan, 'tensors' | 'target'>,
  options: ResolvedCompressOptions,
  measurement?: MeasurementTask,
): MemoryBudget {
  const task = { ...taskOf(source, target, options, measurement !== undefined), measurement }
  const asked = { sideBySide: options.sideBySide === true, speed: options.speed === true }
  return budgetOf(task, options.limits.maxMemory, asked)
}

/** Phases that need whole models, which no piece is smaller than: they are left out where they do not fit unasked. */
const optionalPhases = [
  { phase: 'sample', name: 'sideBySide', without: 'no texts side by side: the whole model needs' },
  { phase: 'speed', name: 'speed', without: 'speed is not measured: source and result together need' },
] as const

/**
 * The same of a task.
 *
 * @param asked what was asked for is not left out
 */
export function budgetOf(
  task: MemoryTask,
  maxMemory: number | undefined,
  asked: { sideBySide?: boolean; speed?: boolean } = {},
): MemoryBudget {
  const free = memoryPhases(task)
  const whole = {
    maxMemory,
    phases: free,
    peakMemoryBytes: peakOf(free).bytes,
    split: freeSplit,
    sideBySide: task.sideBySide,
    speed: task.speed === true,
    notes: [],
    refusal: undefined,
  }
  if (maxMemory === undefined || whole.peakMemoryBytes <= maxMemory) return whole
  const leftOut = optionalPhases.flatMap(({ phase, name, without }) => {
    const found = free.find((each) => each.phase === phase)
    return found && found.bytes > maxMemory && !asked[name] ? [{ name, without, bytes: found.bytes }] : []
  })
  // Kernels are measured with what the limit leaves them, or not at all.
  const kept = {
    ...task,
    probe: false,
    ...Object.fromEntries(leftOut.map(({ name }) => [name, false])),
  }
  const split = splitFor(kept, maxMemory)
  // The pool gives back what it keeps before an allocation passes the limit: it has what the rest leaves.
  const least = peakOf(memoryPhases(kept, { ...split, pooledBytes: 0 }))
  const phases = memoryPhases(kept, split).map((phase) => withinLimit(phase, maxMemory))
  return {
    ...whole,
    phases,
    peakMemoryBytes: peakOf(phases).bytes,
    split,
    sideBySide: kept.sideBySide,
    speed: kept.speed === true,
    notes: leftOut.map(
      ({ without, bytes }) => `${without} ${megabytes(bytes)}, --max-memory is ${megabytes(maxMemory)}`,
    ),
    refusal: least.bytes <= maxMemory ? undefined : refusalOf(least, maxMemory),
  }
}

/** The phase with as much of the pool as the limit leaves it. */
function withinLimit({ phase, parts }: MemoryPhase, maxMemory: number): MemoryPhase {
  const others = parts.filter(({ what }) => what !== poolPart)
  const taken = others.reduce((total, { bytes }) => total + bytes, 0)
  const pool = parts.find(({ what }) => what === poolPart)?.bytes ?? 0
  const left = Math.max(0, Math.min(pool, maxMemory - taken))
  return {
    phase,
    bytes: taken + left,
    parts: left > 0 ? [...others, { what: poolPart, bytes: left }] : others,
  }
}

/** Rounded up; what is less than a megabyte as it was asked for. */
const megabytes = (bytes: number): string => (bytes < 1e6 ? sizeText(bytes) : `${Math.ceil(bytes / 1e6)} MB`)

const phaseNames: Readonly<Record<MemoryPhase['phase'], string>> = {
  start: 'while the model and the texts are read',
  measure: 'while the levels of a mix are measured',
  compress: 'for a stage of weights that is compressed',
  write: 'while the result is written',
  verify: 'to verify the result',
  evaluate: 'for the evaluation',
  sample: 'for texts side by side',
  speed: 'to measure the speed of source and result',
}
const waysOut: Readonly<Record<MemoryPhase['phase'], string>> = {
  start: 'give it as much, or shorter texts',
  measure: 'give it as much, or measure without a limit first, as what is measured is kept',
  compress: 'give it as much, or shorter samples with --length, or --method rtn',
  write: 'give it as much',
  verify: 'give it as much, or --no-verify',
  evaluate: 'give it as much, or a shorter --context, or --no-evaluate',
  sample: 'give it as much, or --no-side-by-side',
  speed: 'give it as much, or --no-speed',
}

const refusalOf = ({ phase, bytes }: MemoryPhase, maxMemory: number): ResourceError =>
  new ResourceError(
    `--max-memory: this run needs at least ${megabytes(bytes)} ${phaseNames[phase]}, got ${megabytes(maxMemory)}; ${waysOut[phase]}`,
    { code: 'PARE_E_MEMORY', facts: { needed: bytes, maxMemory, phase } },
  )

/** The largest pieces that fit, or the smallest there are. Each phase has pieces of its own. */
function splitFor(task: MemoryTask, maxMemory: number): MemorySplit {
  const fits = (split: MemorySplit, name: MemoryPhase['phase']) => {
    const phases = memoryPhases(task, { ...split, pooledBytes: 0 })
    return (phases.find(({ phase }) => phase === name)?.bytes ?? 0) <= maxMemory
  }
  let split: MemorySplit = freeSplit
  for (const activationBytes of [128, 64, 32, 16, 8, 4].map((size) => size * MiB)) {
    split = { ...split, activationBytes }
    if (fits(split, 'compress')) break
  }
  if (task.measurement)
    for (const measurement of evaluationSplits(task)) {
      split = { ...split, measurement }
      if (fits(split, 'measure')) break
    }
  if (!task.evaluation) return split
  for (const evaluation of evaluationSplits(task)) {
    split = { ...split, evaluation }
    if (fits(split, 'evaluate')) break
  }
  return split
}

/** From the fastest to the smallest: a head in blocks is read again for each group of rows. */
function* evaluationSplits({ config }: MemoryTask): Generator<EvaluationSplit> {
  const { hidden, vocabulary } = config
  const wholeHead = [256, 128, 64].map((logitRows) => ({ logitRows, headRows: undefined }))
  const blocks: { logitRows: number; headRows: number }[] = []
  for (const logitRows of [256, 128, 64, 32])
    for (let parts = 2; (4 * hidden * vocabulary) / parts >= smallestBlock; parts *= 2)
      blocks.push({ logitRows, headRows: Math.ceil(vocabulary / parts) })
  for (const heads of [...wholeHead, ...blocks])
    for (const batchTokens of [usualSplit.batchTokens, 1024, 512])
      for (const stateBytes of [128, 32, 8].map((size) => size * MiB))
        yield { ...heads, batchTokens, stateBytes }
}

function taskOf(
  source: OpenCompressible,
  { tensors, target }: Pick<TargetPlan, 'tensors' | 'target'>,
  options: ResolvedCompressOptions,
  measured: boolean,
): MemoryTask {
  const { model, format, family } = source
  const stages = model.stages.map(({ weights }) => weights)
  const calibrated = needsSamples(options) || stepsAsMethod(options.steps, stages.flat()).needs.length > 0
  const training = tunerOf(options.steps, stages.flat(), options.seed)?.target
  const wholeModel = modelTunerOf(options.steps, stages.flat(), options.seed) !== undefined
  const { samples, length, trueSequential, evaluate, windows, context } = options
  const texts = [
    ...(calibrated || measured ? (options.calibration ?? [defaultCalibrationText()]) : []),
    ...(evaluate ? (options.text ?? [defaultEvaluationText()]) : []),
  ]
  return {
    config: model.config,
    format,
    target,
    tensors,
    stages,
    edited: options.transforms.length > 0,
    calibration: calibrated ? { samples, length, ordered: trueSequential, training, wholeModel } : undefined,
    vectors: family === 'bert',
    search: searchOf(options),
    evaluation: evaluate ? { windows, context } : undefined,
    probe: options.probe,
    verification: options.verify,
    sideBySide: evaluate && (options.sideBySide ?? tooLarge(source) === undefined),
    speed: measuresSpeed(options, source),
    textBytes: texts.reduce((total, file) => total + sizeOf(file), 0),
  }
}

/** The search of the transforms, where one of them does. */
function searchOf({ transforms }: ResolvedCompressOptions): MemoryTask['search'] {
  const searches = transforms.filter(({ method }) => method === 'awq')
  if (searches.length === 0) return undefined
  const most = (of: (own: ResolvedTransform['own']) => number) =>
    Math.max(...searches.map(({ own }) => of(own)))
  return {
    tokens: most(({ searchTokens = 2048 }) => searchTokens),
    clipTokens: most(({ clip = true, clipTokens = 512 }) => (clip ? clipTokens : 0)),
  }
}

/** Nothing where there is no such file: whoever reads it says so. */
function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}
