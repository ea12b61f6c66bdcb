/** What weights of a transformed model take of memory while their edits are computed. */
import { headRows } from '../metrics/token_logits.ts'
import type { MemoryPart } from './memory_parts.ts'
import type { MemoryTask } from './memory_plan.ts'
import { F32, F64, numbersOf } from './memory_sizes.ts'
import { blockBytes } from './numbers_in_blocks.ts'

/** A weight that is read with its edits: its numbers in f64, before and after in f32. Tables are read in blocks. */
export function editedParts(task: MemoryTask): MemoryPart[] {
  if (!task.edited) return []
  const inBlocks = Math.max(blockBytes / F32, task.config.hidden * headRows)
  const numbers = task.tensors.map((plan) =>
    plan.role === 'matrix' ? numbersOf(plan) : Math.min(inBlocks, numbersOf(plan)),
  )
  return [
    {
      what: 'a weight whose edits are computed',
      bytes: (F64 + 2 * F32) * Math.max(...numbers),
      outside: true,
    },
  ]
}
