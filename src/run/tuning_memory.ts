/** Memory of the training of a whole result. */

import { type MemoryPart, poolPart } from './memory_parts.ts'
import type { MemorySplit, MemoryTask } from './memory_plan.ts'
import { F32, matricesOf, numbersOf, stageWidth, sumOf, widthsOf } from './memory_sizes.ts'
import { panelBytes } from './process_memory.ts'

/** Logits of both, the gradient, and what the divergence keeps for the way back. */
const LOGITS = 5

/**
 * Every weight as codes and decoded, what each stage keeps of a sequence with its gradients, the states of the source
 * before its head, and both heads. The gradient of the largest weight is there with eight tensors of its size.
 */
export function modelTuningParts(task: MemoryTask, split: MemorySplit): MemoryPart[] {
  const { hidden, vocabulary } = task.config
  const { samples, length } = task.calibration!
  const stages = matricesOf(task)
  const matrices = stages.flat()
  const widths = stages.map((_, index) => stageWidth(widthsOf(task.config, index)))
  const sequence = 2 * F32 * length * sumOf(widths, (width) => width)
  const logits = LOGITS * F32 * length * vocabulary + panelBytes
  return [
    { what: 'weights of the model, as codes and decoded', bytes: (F32 + 2) * sumOf(matrices, numbersOf) },
    {
      what: 'the largest of them while it is trained',
      bytes: 9 * F32 * Math.max(...matrices.map(numbersOf)),
    },
    { what: 'states of the source', bytes: F32 * samples * length * hidden },
    { what: 'heads of source and result', bytes: 2 * F32 * hidden * vocabulary },
    { what: 'a sequence with its gradients', bytes: sequence },
    { what: 'logits of a sequence', bytes: logits },
    { what: poolPart, bytes: Math.min(split.pooledBytes, sequence + logits) },
  ]
}
