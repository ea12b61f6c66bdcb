/**
 * What a compression takes of memory at most, phase by phase, from headers and options alone. Each phase is a list of
 * what is alive at its highest moment; bytes are those of the numbers, f32 where nothing else is said.
 */

import type { StageTuner } from '../calibrate/stage_tuner.ts'
import { type EvaluationSplit, usualSplit } from '../metrics/language.ts'
import { usualMemoryLimit } from '../models/activations.ts'
import { usualBatchTokens } from '../models/batches.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { editedParts } from './edited_memory.ts'
import { type MemoryPart, poolPart, sum, uncollected } from './memory_parts.ts'
import {
  batchTokens,
  comparedBytes,
  decidedBytes,
  F32,
  F64,
  type ModelWidths,
  matricesOf,
  numbersOf,
  probeBytes,
  segmentWidth,
  solvedBytes,
  stageWidth,
  sumOf,
  targetWidth,
  trainingBytes,
  unpackedBytes,
  widthsOf,
} from './memory_sizes.ts'
import { measurementParts } from './mix/measurement_memory.ts'
import type { MeasurementTask } from './mix/measurement_task.ts'
import { blockBytes } from './numbers_in_blocks.ts'
import {
  encodingBytes,
  metadataBytes,
  panelBytes,
  pooledBytes,
  processBytes,
  readBytes,
  tokenBytes,
} from './process_memory.ts'
import type { Phase } from './progress.ts'
import { evaluationParts, sampleParts, verificationParts } from './result_memory.ts'
import { type SearchTask, searchParts } from './search_memory.ts'
import { speedParts } from './speed_memory.ts'
import { modelTuningParts } from './tuning_memory.ts'
import { vectorParts } from './vector_memory.ts'

export interface MemoryPhase {
  /** `start` is all that comes before the first stage. */
  phase:
    | 'start'
    | Extract<Phase, 'measure' | 'compress' | 'write' | 'verify' | 'evaluate' | 'sample' | 'speed'>
  /** Sum of the parts. */
  bytes: number
  parts: readonly MemoryPart[]
}

/** How a run is split into pieces. Smaller ones take less memory and more time; the weights are the same. */
export interface MemorySplit {
  /** Bytes of activations between two stages that stay in memory; the rest goes to a file. */
  activationBytes: number
  /** Bytes of freed tensors that are kept for reuse. */
  pooledBytes: number
  evaluation: EvaluationSplit
  /** `stateBytes` are those of each set of hidden states, also of the one that statistics are gathered from. */
  measurement: EvaluationSplit
}

export const freeSplit: Readonly<MemorySplit> = {
  activationBytes: usualMemoryLimit,
  pooledBytes,
  evaluation: usualSplit,
  measurement: usualSplit,
}

/** A run, as far as memory goes. */
export interface MemoryTask {
  config: ModelWidths
  format: OpenCompressible['format']
  target: TargetPlan['target']
  /** Every weight of the model, as the target stores it. */
  tensors: readonly TensorPlan[]
  /** Names of the matrices of each stage. */
  stages: readonly (readonly string[])[]
  /** Tensors have edits, which are computed each time they are read. @default false */
  edited?: boolean | undefined
  /** Absent where no method asks for the inputs of the weights. */
  calibration?:
    | {
        samples: number
        length: number
        ordered: boolean
        /** Stages are trained on what they should put out. @default not */
        training?: StageTuner['target'] | undefined
        /** The result is trained as a whole. @default not */
        wholeModel?: boolean | undefined
      }
    | undefined
  /** Source and result are encoders: the vectors of texts are compared, not logits. @default false */
  vectors?: boolean | undefined
  /** Present where scales are searched on the inputs of the weights before these are compressed. */
  search?: SearchTask | undefined
  evaluation?: { windows: number; context: number } | undefined
  /** Present where widths are chosen by errors that are still to be measured. */
  measurement?: MeasurementTask | undefined
  sideBySide: boolean
  /** Whether tokens a second of source and result are measured. @default false */
  speed?: boolean | undefined
  /** Whether kernels are measured before the run. @default false */
  probe?: boolean | undefined
  /** Whether the result is opened again and compared with its source. @default false */
  verification?: boolean | undefined
  /** Bytes of the texts to calibrate and to evaluate with. */
  textBytes: number
}

/** A token id in the parts of a text and in the whole; a token of two bytes is shorter than those of any language. */
const TEXT = 4

/**
 * The engine rounds blocks up to a sixteenth of a power of two, or to a huge page: at most by an eighth, and by half of
 * that on the whole.
 */
const ROUNDING = 16

/** The phases that the run has, in their order. */
export function memoryPhases(task: MemoryTask, split: MemorySplit = freeSplit): MemoryPhase[] {
  const process = processParts(task)
  const phase = (name: MemoryPhase['phase'], parts: MemoryPart[]): MemoryPhase => {
    const tensors = parts.filter(({ outside }) => !outside)
    const rounding = { what: 'blocks rounded up', bytes: Math.ceil(sum(tensors) / ROUNDING) }
    const all = [...process, ...parts, rounding].filter(({ bytes }) => bytes > 0)
    return { phase: name, bytes: sum(all), parts: all }
  }
  return [
    phase('start', [
      { what: 'texts', bytes: TEXT * task.textBytes, outside: true },
      { what: 'kernels that are measured', bytes: task.probe ? probeBytes(task.config) : 0 },
    ]),
    ...(task.measurement ? [phase('measure', measurementParts(task, task.measurement, split))] : []),
    phase('compress', [...compressParts(task, split), ...editedParts(task)]),
    phase('write', [...writeParts(task, split), ...editedParts(task)]),
    ...(task.verification
      ? [phase('verify', [...verificationParts(task, split), ...editedParts(task)])]
      : []),
    ...(task.evaluation
      ? [phase('evaluate', task.vectors ? vectorParts(task) : evaluationParts(task, split))]
      : []),
    ...(task.evaluation && task.sideBySide ? [phase('sample', sampleParts(task))] : []),
    ...(task.evaluation && task.speed ? [phase('speed', speedParts(task, split))] : []),
  ]
}

/** Bytes of a phase that are no tensors of the engine. */
export const outsideOf = ({ parts }: MemoryPhase): number => sum(parts.filter(({ outside }) => outside))

/** The highest of the phases. */
export const peakOf = (phases: readonly MemoryPhase[]): MemoryPhase =>
  phases.reduce((highest, phase) => (phase.bytes > highest.bytes ? phase : highest))

function processParts(task: MemoryTask): MemoryPart[] {
  const { config, calibration, evaluation, measurement, verification, format, target } = task
  const reads = verification || [calibration, evaluation, measurement].some((phase) => phase !== undefined)
  // A folder gets the tokenizer of a GGUF file as JSON.
  const tokenizer = reads || (format === 'gguf' && target !== 'gguf')
  const metadata = format === 'gguf' || target === 'gguf'
  const outside = (what: string, bytes: number): MemoryPart => ({ what, bytes, outside: true })
  return [
    outside('process', processBytes),
    outside('tokenizer', tokenizer ? tokenBytes * config.vocabulary : 0),
    outside('metadata of a GGUF file', metadata ? metadataBytes * config.vocabulary : 0),
    outside('encoding of texts', reads ? encodingBytes : 0),
  ]
}

/** The search before the stages, or the training of the whole model behind them, may take more than a stage. */
function compressParts(task: MemoryTask, split: MemorySplit): MemoryPart[] {
  if (!task.calibration) return roundingParts(task, split)
  const others = [
    ...(task.search ? [searchParts(task, task.search, split)] : []),
    ...(task.calibration.wholeModel ? [modelTuningParts(task, split)] : []),
  ].map((parts) => [...parts, ...fileParts(task)])
  return [walkParts(task, split), ...others].reduce((a, b) => (sum(b) > sum(a) ? b : a))
}

/** Matrices are read, rounded and encoded one at a time. */
function roundingParts(task: MemoryTask, split: MemorySplit): MemoryPart[] {
  const highest = Math.max(...matricesOf(task).flat().map(comparedBytes))
  return [
    { what: 'a weight with what it is rounded to', bytes: highest },
    { what: poolPart, bytes: Math.min(split.pooledBytes, highest) },
    ...fileParts(task),
  ]
}

/** A stage of weights, with the inputs of one group of them. */
function walkParts(task: MemoryTask, split: MemorySplit): MemoryPart[] {
  const { samples, length, ordered, training } = task.calibration!
  const batch = batchTokens(usualBatchTokens, samples, length)
  const stages = matricesOf(task).map((matrices, index) => {
    const widths = widthsOf(task.config, index)
    const weights = F32 * sumOf(matrices, numbersOf)
    // Between two segments of an ordered stage there is one tensor as wide as the widest beside the residual.
    const between = ordered ? Math.max(widths.queries, widths.inner) : 0
    const kept = F32 * (widths.hidden + between + targetWidth(widths, training))
    // What the source puts out on its own is in a set of its own.
    const sets = training === 'dense' ? 2 : 1
    const states = sets * Math.min(split.activationBytes, (samples * length * kept) / sets)
    const spilled = samples * length * kept > split.activationBytes ? 2 * batch * kept : 0
    const forward = F32 * batch * (ordered ? segmentWidth(widths) : stageWidth(widths) + 2 * widths.inner)
    const grams = [widths.hidden, widths.queries, widths.hidden, widths.inner].map((n) => F64 * n ** 2)
    const largest = Math.max(...grams)
    const during = largest + forward + spilled + panelBytes
    const solving = Math.max(...matrices.map(solvedBytes))
    if (training !== undefined) {
      const learning = trainingBytes(matrices, widths, batch) + spilled
      return [
        { what: 'weights of a stage', bytes: weights },
        { what: 'activations', bytes: states },
        { what: 'Gram matrices', bytes: sumOf(grams, (bytes) => bytes) },
        { what: 'the stage while it is trained', bytes: Math.max(learning, forward + spilled, solving) },
        { what: poolPart, bytes: Math.min(split.pooledBytes, forward + solving + learning) },
      ]
    }
    return [
      { what: 'weights of a stage', bytes: weights },
      { what: 'activations', bytes: states },
      ...(solving > during
        ? [{ what: 'Gram matrix, its factor and the weight that it rounds', bytes: solving }]
        : [{ what: 'Gram matrix and the batch that it sums', bytes: during }]),
      {
        what: 'Gram matrices of other inputs',
        bytes: ordered ? 0 : sumOf(grams, (bytes) => bytes) - largest,
      },
      // Each needs blocks of other sizes than the other has left.
      { what: poolPart, bytes: Math.min(split.pooledBytes, forward + solving) },
    ]
  })
  const highest = stages.reduce((a, b) => (sum(b) > sum(a) ? b : a))
  return [...highest, ...fileParts(task)]
}

/** The largest stage as it is written, and what is read of a file. */
function fileParts(task: MemoryTask): MemoryPart[] {
  const encoded = Math.max(...matricesOf(task).map((matrices) => sumOf(matrices, ({ bytes }) => bytes)))
  const largest = Math.max(...matricesOf(task).flat().map(numbersOf))
  // Codes of a byte are packed outside of the engine.
  const codes = matricesOf(task)
    .flat()
    .some(({ grid }) => grid?.kind === 'affine')
    ? 2 * largest
    : 0
  const unpacked = (unpackedBytes[task.format] ?? 0) * largest
  // Every stage is read and written before the garbage collector must come by.
  const passed = sumOf(
    matricesOf(task).flat(),
    (plan) => plan.bytes + F32 * numbersOf(plan) + decidedBytes(plan),
  )
  return [
    { what: 'encoded weights of a stage', bytes: encoded, outside: true },
    uncollected(passed, Math.max(codes, unpacked, readBytes)),
  ]
}

/** Finished stages are copied from their shards, one tensor at a time; the rest is encoded in blocks of rows. */
function writeParts({ tensors }: MemoryTask, split: MemorySplit): MemoryPart[] {
  const rest = tensors.filter(({ role }) => role !== 'matrix')
  const blockOf = (plan: TensorPlan) => Math.min(blockBytes, F32 * numbersOf(plan))
  // The numbers with what they are rounded to and its codes, or with half as many bytes.
  const encodedBytes = (plan: TensorPlan) =>
    plan.kept ? 0 : (plan.grid || plan.made ? 3 : 1.5) * blockOf(plan)
  const block = Math.max(0, ...rest.map(encodedBytes))
  const copied = Math.max(
    ...tensors.map(({ role, bytes }) => (role === 'matrix' ? bytes : Math.min(bytes, blockBytes))),
  )
  const written = sumOf(tensors, ({ bytes }) => bytes)
  return [
    { what: 'a block of rows with what it is rounded to', bytes: block },
    // The next block takes what the one before has left; what stages left are smaller blocks.
    { what: poolPart, bytes: Math.min(split.pooledBytes, block / 2) },
    uncollected(written / 3, copied),
  ]
}
