/** What decides how long a run takes: shapes, types and counts, from headers and options. */
import { statSync } from 'node:fs'
import { defaultCalibrationText, defaultEvaluationText } from '../calibrate/text_samples.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import type { Grid } from '../nn/grid.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import { measuresSpeed } from './generation_speed.ts'
import type { MeasurementTask } from './mix/measurement_task.ts'
import type { SensitivityName } from './mix/mix_options.ts'
import { tooLarge } from './side_by_side.ts'
import { loadedBytes } from './speed_memory.ts'
import { stepMethod } from './step_methods.ts'
import { stepsByName } from './step_sequence.ts'
import { comparedTokens } from './verify/fixed_texts.ts'

export interface RunTensor {
  rows: number
  columns: number
  /** How the source stores it. */
  type: string
  /** How the result does. */
  storedType: string
  grid?: Grid | undefined
  kept: boolean
  bytes: number
}

export interface RunMatrix extends RunTensor {
  /** The methods that it goes through, in their order. */
  steps: readonly string[]
}

/** A measurement before the run, on texts as they are. */
export interface MeasurementFacts {
  how: SensitivityName
  windows: { tokens: number; length: number }
  /** What statistics are gathered from, where something needs them. */
  samples?: { tokens: number; length: number }
  textBytes: number
  /** Of each stage: its matrices, and those that are tried, once for each level. */
  stages: readonly { matrices: readonly RunMatrix[]; levels: readonly RunMatrix[] }[]
}

export interface RunFacts {
  format: OpenCompressible['format']
  target: TargetPlan['target']
  method: string
  hidden: number
  vocabulary: number
  layers: readonly { heads: number; headSize: number; intermediate: number }[]
  matrices: readonly RunMatrix[]
  /** Embedding, head, norms and biases. */
  rest: readonly RunTensor[]
  /** Present where a method needs it. `sequential`: one forward a stage; without it there are two. */
  calibration?: { tokens: number; length: number; sequential: boolean }
  /** `vectors`: of encoders, without logits. */
  evaluation?: { tokens: number; context: number; vectors?: boolean }
  sideBySide: boolean
  /** Bytes of weights that a token of the source and of the result reads, where their speed is measured. */
  speed?: { source: number; result: number }
  /** Tokens on which the result is verified, if it is. */
  verified?: number
  /** Of the source, which are read once to know it again. */
  hashedBytes: number
  /** Of the texts that become tokens. */
  textBytes: number
  /** What comes before the run, where the data decides on widths. */
  measurement?: MeasurementFacts
  /** What the result is compared with, compressed and evaluated after it. */
  baseline?: RunFacts
}

/** Bytes of text that a token stands for, about. */
const tokenBytes = 4

/** Of those that a text holds, where it is short. */
const pieces = (asked: number, bytes: number, length: number): number =>
  Math.max(1, Math.min(asked, Math.floor(bytes / tokenBytes / length)))

/** @example runFacts(source, planTarget(source, options), options) */
export function runFacts(
  source: OpenCompressible & { resolved?: { sha256?: string | undefined } },
  plan: TargetPlan,
  options: ResolvedCompressOptions,
  measurement?: MeasurementTask,
): RunFacts {
  const { config } = source.model
  const names = plan.tensors.map(({ name }) => name)
  const taken = stepsByName(options.steps, names)
  const matrices = plan.tensors.filter(({ role }) => role === 'matrix')
  const used = matrices.flatMap(({ name }) => taken.get(name)!.map((step) => options.steps[step]!.method))
  const calibrated = used.some((method) => stepMethod(method).needs.length > 0)
  const [calibrationBytes, evaluationBytes] = [
    calibrated ? sizeOfFiles(options.calibration ?? [defaultCalibrationText()]) : 0,
    options.evaluate ? sizeOfFiles(options.text ?? [defaultEvaluationText()]) : 0,
  ]
  const { samples, length, windows, context, every, trueSequential } = options
  const factsOfMatrix = (tensor: TensorPlan): RunMatrix => ({
    ...factsOf(tensor),
    steps: taken.get(tensor.name)!.map((step) => options.steps[step]!.method),
  })
  return {
    format: source.format,
    target: plan.target,
    method: options.method,
    hidden: config.hidden,
    vocabulary: config.vocabulary,
    layers: config.layers.map(({ heads, intermediate }) => ({
      heads,
      headSize: config.headSize,
      intermediate,
    })),
    matrices: matrices.map(factsOfMatrix),
    rest: plan.tensors.filter(({ role }) => role !== 'matrix').map(factsOf),
    ...(calibrated
      ? {
          calibration: {
            tokens: length * pieces(samples, calibrationBytes, length),
            length,
            sequential: trueSequential,
          },
        }
      : {}),
    ...(options.evaluate
      ? {
          evaluation: {
            tokens: context * pieces(windows, evaluationBytes / every, context),
            context,
            ...(source.family === 'bert' ? { vectors: true } : {}),
          },
        }
      : {}),
    ...(measurement
      ? {
          measurement: measurementFacts(measurement, options, source.model.stages, (name) =>
            factsOfMatrix(matrices.find((tensor) => tensor.name === name)!),
          ),
        }
      : {}),
    ...(options.verify ? { verified: Math.min(comparedTokens, config.context) } : {}),
    sideBySide: options.evaluate && (options.sideBySide ?? tooLarge(source) === undefined),
    ...(measuresSpeed(options, source)
      ? { speed: loadedBytes({ config, format: source.format, target: plan.target, tensors: plan.tensors }) }
      : {}),
    hashedBytes: source.resolved?.sha256 === undefined ? source.weights.fileBytes : 0,
    textBytes: calibrationBytes + Math.min(evaluationBytes, tokenBytes * windows * every * context),
  }
}

function measurementFacts(
  { how, windows, samples, stages }: MeasurementTask,
  options: ResolvedCompressOptions,
  plans: OpenCompressible['model']['stages'],
  matrixOf: (name: string) => RunMatrix,
): MeasurementFacts {
  const textBytes = sizeOfFiles(options.calibration ?? [defaultCalibrationText()])
  return {
    how,
    // A window is the beginning of a sample.
    windows: {
      tokens: windows.length * pieces(windows.count, textBytes, options.length),
      length: windows.length,
    },
    ...(samples
      ? {
          samples: {
            tokens: samples.length * pieces(samples.count, textBytes, samples.length),
            length: samples.length,
          },
        }
      : {}),
    textBytes,
    stages: plans.map(({ weights }, stage) => ({
      matrices: weights.map(matrixOf),
      levels: stages[stage]!.map(({ plan, methods }) => ({ ...factsOf(plan), steps: methods })),
    })),
  }
}

const factsOf = ({ shape, sourceType, type, grid, kept, bytes }: TensorPlan): RunTensor => ({
  rows: shape.slice(0, -1).reduce((a, b) => a * b, 1),
  columns: shape.at(-1) ?? 1,
  type: sourceType,
  storedType: type,
  grid,
  kept,
  bytes,
})

/** Of those that can be seen: the run itself says what is wrong with the others. */
const sizeOfFiles = (files: readonly string[]): number =>
  files.reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0)
