/** What source and result take of memory while their speed is measured: at most, from headers alone. */
import type { TensorPlan } from '../models/write/tensor_plan.ts'
import { bitsPerWeight, isBlockType, isCodedType } from '../nn/block_types.ts'
import { speedTokens } from './generation_speed.ts'
import { type MemoryPart, poolPart, uncollected } from './memory_parts.ts'
import type { MemorySplit, MemoryTask } from './memory_plan.ts'
import { F32, matricesOf, numbersOf, stageWidth, sumOf, unpackedBytes, widthsOf } from './memory_sizes.ts'
import { panelBytes, readBytes, tokenBytes, uncollectedBytes } from './process_memory.ts'

/** Columns of a packed part: src/nn/values/packed_weight.ts. */
const PART = 32

/**
 * Bytes of all weights of source and result as they are loaded for products with 8-bit inputs. Codes of a folder whose
 * groups headers do not tell count as f32.
 */
export function loadedBytes({
  config,
  format,
  target,
  tensors,
}: Pick<MemoryTask, 'config' | 'format' | 'target' | 'tensors'>): { source: number; result: number } {
  const held = tensors.filter(({ role }) => config.tied || role !== 'embedding')
  return {
    source: sumOf(held, (plan) => blockBytes(plan, format === 'gguf' ? plan.sourceType : '')),
    result: sumOf(held, (plan) => {
      if (plan.made || plan.described || plan.kept)
        return blockBytes(plan, target === 'gguf' ? plan.type : '')
      return plan.grid?.kind === 'affine' && target === 'pare' ? gridBytes(plan) : blockBytes(plan, plan.type)
    }),
  }
}

function blockBytes(plan: TensorPlan, type: string): number {
  return isCodedType(type) && plan.shape.length === 2
    ? (bitsPerWeight(type) * numbersOf(plan)) / 8
    : F32 * numbersOf(plan)
}

/** A step and a zero of up to four bytes in front of the codes of each group, whose columns fill whole parts, and an order. */
function gridBytes(plan: TensorPlan): number {
  if (plan.grid?.kind !== 'affine') return F32 * numbersOf(plan)
  const [rows, columns] = plan.shape as [number, number]
  const { bits, groupSize } = plan.grid
  const group = groupSize === 'row' ? columns : Math.min(groupSize, columns)
  const stored = [2, 3, 4].find((width) => bits <= width) ?? 8
  const places = Math.ceil(columns / group) * Math.ceil(group / PART) * PART
  return rows * (8 * Math.ceil(columns / group) + (stored * places) / 8) + F32 * places
}

/** Numbers beside a weight that is decoded from codes, or whose rows change places. Floats and blocks of a table come in parts. */
function decodingBytes(plan: TensorPlan): number {
  const inParts = [plan.sourceType, plan.type].every((type) => isBlockType(type))
  return plan.role !== 'matrix' && inParts ? 0 : 4 * F32 * numbersOf(plan)
}

/** Both models, with what one of them holds while a weight is loaded or a prompt is read. */
export function speedParts(task: MemoryTask, split: MemorySplit): MemoryPart[] {
  const { config, tensors, format, target } = task
  const { source, result } = loadedBytes(task)
  const { prompt, written } = speedTokens
  const widths = config.layers.map((_, index) => widthsOf(config, index))
  const states = F32 * prompt * Math.max(...widths.map(stageWidth))
  const cache = 2 * F32 * (prompt + written + 1) * sumOf(widths, ({ keys }) => keys)
  const reading = states + cache + 4 * F32 * config.vocabulary + panelBytes
  const loading = Math.max(0, ...tensors.map(decodingBytes))
  const matrix = Math.max(...matricesOf(task).flat().map(numbersOf))
  const unpacked = Math.max(unpackedBytes[format] ?? 0, target === 'gguf' ? 0 : 3)
  return [
    { what: 'weights of source and result', bytes: source + result },
    loading > reading
      ? { what: 'a weight while it is loaded', bytes: loading }
      : { what: 'a prompt while it is read', bytes: reading },
    { what: poolPart, bytes: Math.min(split.pooledBytes, Math.max(loading, reading)) },
    { what: 'tokenizer of the result', bytes: tokenBytes * config.vocabulary, outside: true },
    uncollected(uncollectedBytes, Math.max(readBytes, unpacked * matrix)),
  ]
}
