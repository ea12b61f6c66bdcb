/** What looking at a result takes of memory: verification, evaluation, and the texts side by side. */
import { SCORED_ROWS } from '../metrics/language.ts'
import { headRows } from '../metrics/token_logits.ts'
import { type MemoryPart, poolPart, sum, uncollected } from './memory_parts.ts'
import type { MemorySplit, MemoryTask } from './memory_plan.ts'
import {
  batchTokens,
  F32,
  matricesOf,
  numbersOf,
  stageWidth,
  sumOf,
  unpackedBytes,
  widthsOf,
} from './memory_sizes.ts'
import { panelBytes, readBytes, tokenBytes, uncollectedBytes } from './process_memory.ts'
import { passageTokens } from './side_by_side.ts'
import { comparedTokens, embeddedTokens } from './verify/fixed_texts.ts'
import { partNumbers } from './verify/read_weight.ts'

/** Either a stage of weights with a batch inside of it, or the heads with some rows of logits. */
export function evaluationParts(
  task: MemoryTask,
  { evaluation: split, pooledBytes: pooled }: MemorySplit,
): MemoryPart[] {
  const { windows, context } = task.evaluation!
  const { vocabulary, hidden } = task.config
  const batch = batchTokens(split.batchTokens, windows, context)
  const states = Math.min(split.stateBytes, F32 * windows * context * hidden)
  const read = states < F32 * windows * context * hidden ? 2 * F32 * batch * hidden : 0
  const stages = matricesOf(task).map((matrices, index) => {
    const forward = F32 * batch * stageWidth(widthsOf(task.config, index)) + read + panelBytes
    const weights = F32 * sumOf(matrices, numbersOf)
    return [
      { what: 'weights of a stage', bytes: weights },
      { what: 'a batch inside of a stage', bytes: forward },
      { what: poolPart, bytes: Math.min(pooled, weights) },
    ]
  })
  const rows = Math.min(split.logitRows, context - 1)
  const row = F32 * vocabulary
  const blocks = split.headRows !== undefined && split.headRows < vocabulary
  const heads = [
    {
      what: blocks ? 'a block of a head' : 'the heads of source and result',
      bytes: F32 * hidden * (blocks ? split.headRows! : 2 * vocabulary),
    },
    // The parts of the second are joined while the first is there.
    { what: 'logits', bytes: rows * row * (blocks ? 3 : 2) },
    { what: 'scores', bytes: 5 * Math.min(SCORED_ROWS, rows) * row },
    { what: 'panels', bytes: panelBytes + read },
  ]
  const highest = [...stages, heads].reduce((a, b) => (sum(b) > sum(a) ? b : a))
  return [
    ...highest,
    { what: 'hidden states of source and result', bytes: 2 * states },
    uncollected(uncollectedBytes, readBytes),
  ]
}

/**
 * A matrix of source and result with their difference, a stage with what is compared inside of it, or a block of a
 * head. The logits of source and result are arrays of JavaScript.
 */
export function verificationParts(task: MemoryTask, split: MemorySplit): MemoryPart[] {
  const { vocabulary, hidden } = task.config
  const tokens = task.vectors ? embeddedTokens : comparedTokens
  const largest = F32 * Math.max(...matricesOf(task).flat().map(numbersOf))
  const stages = matricesOf(task).map((matrices, index) => {
    const weights = F32 * sumOf(matrices, numbersOf)
    return weights + F32 * tokens * stageWidth(widthsOf(task.config, index))
  })
  const rest = task.tensors.filter(({ role }) => role !== 'matrix')
  const table = F32 * Math.min(partNumbers, Math.max(0, ...rest.map(numbersOf)))
  const logits = task.vectors ? 0 : F32 * comparedTokens * vocabulary
  // Of the source or of the result, whose codes take three bytes at most.
  const unpacked = Math.max(unpackedBytes[task.format] ?? 0, task.target === 'gguf' ? 0 : 3)
  const head = task.vectors ? 0 : F32 * hidden * Math.min(vocabulary, headRows) + 2 * logits
  const highest = Math.max(4 * largest, 4 * table, ...stages, head)
  return [
    { what: 'a weight of source and result, a stage, or a block of the head', bytes: highest },
    { what: poolPart, bytes: Math.min(split.pooledBytes, highest) },
    { what: 'panels', bytes: panelBytes },
    { what: 'logits of source and result', bytes: 2 * logits, outside: true },
    { what: 'tokenizer of the result', bytes: tokenBytes * vocabulary, outside: true },
    uncollected(uncollectedBytes, Math.max(readBytes, (unpacked * largest) / F32)),
  ]
}

/** A model that is loaded whole. */
export function sampleParts({ config, tensors }: MemoryTask): MemoryPart[] {
  const numbers = tensors.filter(({ role }) => config.tied || role !== 'embedding')
  return [
    { what: 'the whole model', bytes: F32 * sumOf(numbers, numbersOf) },
    { what: 'logits of source and result', bytes: 4 * passageTokens * F32 * config.vocabulary },
    uncollected(uncollectedBytes, readBytes),
  ]
}
