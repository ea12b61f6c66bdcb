/** What the search of AWQ holds of a stage: `src/quantize/awq_stage.ts`. */
import { usualBatchTokens } from '../models/batches.ts'
import { type MemoryPart, poolPart, sum } from './memory_parts.ts'
import type { MemorySplit, MemoryTask } from './memory_plan.ts'
import {
  batchTokens,
  F32,
  matricesOf,
  numbersOf,
  segmentWidth,
  sumOf,
  type Widths,
  widthsOf,
} from './memory_sizes.ts'
import { panelBytes } from './process_memory.ts'

/** Tokens that errors are measured with. */
export interface SearchTask {
  /** Of scales. */
  tokens: number
  /** Of cuts; 0 where nothing is cut. */
  clipTokens: number
}

/** Weights that share inputs, by how wide these and what comes out of them and of their module are. */
const groupsOf = ({ hidden, queries, keys, inner }: Widths) => [
  { inputs: hidden, outputs: queries + 2 * keys, widest: queries },
  { inputs: queries, outputs: hidden, widest: hidden },
  { inputs: hidden, outputs: 2 * inner, widest: inner },
  { inputs: inner, outputs: hidden, widest: hidden },
]

/**
 * The inputs that were picked of a group with what the module made of them, its weights as they are tried, and a batch
 * inside of it; or a weight that is cut, with the errors of its outputs.
 */
export function searchParts(task: MemoryTask, search: SearchTask, split: MemorySplit): MemoryPart[] {
  const { samples, length } = task.calibration!
  const all = samples * length
  const tokens = Math.min(search.tokens, all)
  const clipped = Math.min(search.clipTokens, tokens)
  const batch = batchTokens(usualBatchTokens, samples, length)
  const half = split.activationBytes / 2
  const stages = matricesOf(task).map((matrices, index): MemoryPart[] => {
    const widths = widthsOf(task.config, index)
    const groups = groupsOf(widths)
    const between = Math.max(widths.queries, widths.inner)
    // Those before attention are kept as whole samples too.
    const picked = widths.hidden + sumOf(groups, ({ inputs }) => inputs)
    const kept = F32 * tokens * picked
    // They are put together from their parts, which are read from a file where memory does not hold them.
    const copies = kept > half ? 2 : 1
    const forward = F32 * batch * segmentWidth(widths)
    const scaling = groups.map(
      ({ inputs, outputs, widest }) =>
        F32 * tokens * (copies * inputs + widths.hidden) + F32 * inputs * (outputs + 4 * widest),
    )
    const cutting = groups.map(
      ({ inputs, widest }) =>
        F32 * tokens * copies * inputs +
        F32 * clipped * (2 * inputs + 2 * widest) +
        4 * F32 * inputs * widest,
    )
    const searching = Math.max(
      Math.max(...scaling) + forward,
      search.clipTokens > 0 ? Math.max(...cutting) : 0,
    )
    return [
      { what: 'weights of a stage', bytes: F32 * sumOf(matrices, numbersOf) },
      {
        what: 'activations',
        bytes: Math.min(half, F32 * all * (widths.hidden + between)) + Math.min(half, kept),
      },
      { what: 'the search of scales and cuts', bytes: searching + panelBytes },
      { what: poolPart, bytes: Math.min(split.pooledBytes, searching) },
    ]
  })
  return stages.reduce((a, b) => (sum(b) > sum(a) ? b : a))
}
