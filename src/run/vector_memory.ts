/** What comparing the vectors of an encoder with those of its source takes of memory. */
import { usualBatchTokens } from '../models/batches.ts'
import { type MemoryPart, uncollected } from './memory_parts.ts'
import type { MemoryTask } from './memory_plan.ts'
import { batchTokens, F32, numbersOf, stageWidth, sumOf, widthsOf } from './memory_sizes.ts'
import { panelBytes, readBytes, uncollectedBytes } from './process_memory.ts'

/** An encoder that is loaded whole, with a batch inside of a stage. */
export function vectorParts(task: MemoryTask): MemoryPart[] {
  const { windows, context } = task.evaluation!
  const batch = batchTokens(usualBatchTokens, windows, context)
  const widest = Math.max(...task.stages.map((_, index) => stageWidth(widthsOf(task.config, index))))
  return [
    { what: 'the whole model', bytes: F32 * sumOf(task.tensors, numbersOf) },
    { what: 'a batch inside of a stage', bytes: F32 * batch * widest + panelBytes },
    uncollected(uncollectedBytes, readBytes),
  ]
}
