/**
 * What a measurement of levels takes of memory at its highest moment:
 *
 *   walk       a stage of weights with one Gram matrix, and either a batch that is summed, a level that is tried, or the
 *              windows that run through the stage with it
 *   passage    a later stage with variants stacked to a batch
 *   head       the head with rows of logits
 *
 * Beside each are the hidden states of the source and of all variants of a stage.
 */
import { comparedRows, PART_ROWS } from '../../metrics/state_divergence.ts'
import { usualBatchTokens } from '../../models/batches.ts'
import type { TensorPlan } from '../../models/write/tensor_plan.ts'
import { type MemoryPart, poolPart, sum, uncollected } from '../memory_parts.ts'
import type { MemorySplit, MemoryTask } from '../memory_plan.ts'
import {
  batchTokens,
  F32,
  F64,
  matricesOf,
  numbersOf,
  segmentWidth,
  solvedBytes,
  stageWidth,
  sumOf,
  type Widths,
  widthsOf,
} from '../memory_sizes.ts'
import { panelBytes, readBytes, uncollectedBytes } from '../process_memory.ts'
import type { MeasurementTask, TriedLevel } from './measurement_task.ts'

export function measurementParts(
  task: MemoryTask,
  measurement: MeasurementTask,
  { measurement: split, pooledBytes }: MemorySplit,
): MemoryPart[] {
  const { config } = task
  const { hidden, vocabulary } = config
  const { how, windows, samples } = measurement
  const matrices = matricesOf(task)
  const allWeights = matrices.map((each) => F32 * sumOf(each, numbersOf))
  const last = matrices.length - 1
  const walked = samples ?? windows
  const batch = batchTokens(split.batchTokens, windows.count, windows.length)
  const walkBatch = samples ? batchTokens(usualBatchTokens, samples.count, samples.length) : batch
  /** Bytes in memory of a set that holds so many numbers, and those with which a part of it comes from its file. */
  const setOf = (numbers: number) => Math.min(split.stateBytes, F32 * numbers)
  const spillOf = (numbers: number, part: number) => (F32 * numbers > split.stateBytes ? F32 * part : 0)
  const windowNumbers = windows.count * windows.length * hidden

  const moments = measurement.stages.flatMap((levels, index): MemoryPart[][] => {
    if (levels.length === 0 && !samples) return []
    const widths = widthsOf(config, index)
    const variantNumbers = levels.length * windowNumbers
    const states = how === 'measured' ? 2 * setOf(windowNumbers) + setOf(variantNumbers) : 0
    const passage = spillOf(Math.max(windowNumbers, variantNumbers), batch * hidden)
    // Files are read into arrays of JavaScript.
    const outside: MemoryPart = { what: 'hidden states from their files', bytes: 3 * passage, outside: true }
    const kept = (width: number) => walked.count * walked.length * width
    const inside = hidden + Math.max(widths.queries, widths.inner)
    const [during, other] = duringWalk(levels, widths, { measurement, walkBatch, batch })
    const walk: MemoryPart[] = [
      { what: 'weights of a stage', bytes: allWeights[index]! },
      during,
      { what: 'hidden states', bytes: states + setOf(kept(inside)) },
      { what: 'hidden states from their files', bytes: spillOf(kept(inside), walkBatch * inside) + passage },
      { ...outside, bytes: outside.bytes + spillOf(kept(inside), walkBatch * inside) },
      // Each needs blocks of other sizes than the others have left.
      { what: poolPart, bytes: Math.min(pooledBytes, other) },
    ]
    if (how !== 'measured' || levels.length === 0) return [walk]
    const between = states + setOf(kept(hidden))
    const stacked = batch * Math.max(1, Math.min(levels.length, Math.floor(split.batchTokens / batch)))
    const later = index === last ? [] : [Math.max(...allWeights.slice(index + 1))]
    const width = Math.max(...config.layers.map((_, layer) => stageWidth(widthsOf(config, layer))))
    const passages = later.map((weights): MemoryPart[] => [
      { what: 'weights of a stage', bytes: weights },
      // What was stacked is cut into copies.
      { what: 'variants inside of a stage', bytes: F32 * stacked * (width + hidden) + panelBytes },
      { what: 'hidden states', bytes: between },
      { what: 'hidden states from their files', bytes: spillOf(variantNumbers, stacked * hidden) },
      outside,
      { what: poolPart, bytes: Math.min(pooledBytes, weights) },
    ])
    const blocks = split.headRows !== undefined && split.headRows < vocabulary
    const rows = Math.min(comparedRows(vocabulary, split.logitRows), batch)
    const row = F32 * vocabulary
    const head: MemoryPart[] = [
      {
        what: blocks ? 'a block of a head' : 'the head',
        bytes: F32 * hidden * (blocks ? split.headRows! : vocabulary),
      },
      // Log-probabilities and probabilities of the source, and a variant; of blocks, with what it is joined from.
      { what: 'logits', bytes: (blocks ? 4 : 3) * rows * row },
      { what: 'differences', bytes: 3 * Math.min(PART_ROWS, rows) * row },
      { what: 'panels', bytes: panelBytes + 2 * passage },
      { what: 'hidden states', bytes: between },
      outside,
    ]
    return [walk, ...passages, head]
  })
  const highest = moments.reduce((a, b) => (sum(b) > sum(a) ? b : a), [])
  // One walk over the model reads less than passages behind each of its stages.
  const largest = F32 * Math.max(...matrices.flat().map(numbersOf))
  return [...highest, uncollected(how === 'measured' ? uncollectedBytes : largest, readBytes)]
}

/** What is beside the weights of a stage while it is walked through, and what the next highest moment takes. */
function duringWalk(
  levels: readonly TriedLevel[],
  widths: Widths,
  { measurement, walkBatch, batch }: { measurement: MeasurementTask; walkBatch: number; batch: number },
): [MemoryPart, number] {
  const { how, samples } = measurement
  const gram = (inputs: number) => (samples ? F64 * inputs ** 2 : 0)
  const largest = Math.max(widths.hidden, widths.queries, widths.inner)
  const windows = F32 * batch * stageWidth(widths)
  const forward = samples ? Math.max(F32 * walkBatch * segmentWidth(widths), windows) : windows
  const summed: MemoryPart = {
    what: samples ? 'Gram matrix and the batch that it sums' : 'a batch inside of a stage',
    bytes: gram(largest) + forward + panelBytes,
  }
  const plans = levels.map(({ plan }) => plan)
  const highest = (bytesOf: (plan: TensorPlan) => number) => Math.max(0, ...plans.map(bytesOf))
  const decided: MemoryPart = samples
    ? { what: 'Gram matrix, its factor and the weight that it rounds', bytes: highest(solvedBytes) }
    : {
        what: 'a weight and what it is rounded to',
        bytes: highest((plan) => (2 * F32 + 1) * numbersOf(plan)),
      }
  const through: MemoryPart = {
    what: 'a level of a weight and the windows that run through it',
    bytes:
      how === 'measured'
        ? highest((plan) => gram(plan.shape[1]!) + F32 * numbersOf(plan) + windows + panelBytes)
        : 0,
  }
  const moments = [summed, decided, through].toSorted((a, b) => b.bytes - a.bytes)
  return [moments[0]!, moments[1]!.bytes]
}
