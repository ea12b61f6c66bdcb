import { afterEach, expect, test } from 'vitest'
import { ResourceError } from '../tensor/errors.ts'
import { scope, setMemoryLimit, zeros } from '../tensor/index.ts'
import { EngineLimit } from './engine_limit.ts'
import type { MemoryBudget } from './memory_budget.ts'
import { freeSplit } from './memory_plan.ts'

afterEach(() => setMemoryLimit(Number.POSITIVE_INFINITY))

const MiB = 2 ** 20
const budget = (maxMemory: number | undefined): MemoryBudget => ({
  maxMemory,
  phases: [{ phase: 'compress', bytes: 64 * MiB, parts: [] }],
  peakMemoryBytes: 64 * MiB,
  split: freeSplit,
  sideBySide: false,
  speed: false,
  notes: [],
  refusal: undefined,
})
const allocate = (mebibytes: number) => scope(() => void zeros([(mebibytes * MiB) / 4]))

test('in a phase tensors get what the budget leaves beside the process, and all again after it', () => {
  const limit = new EngineLimit(budget(process.memoryUsage.rss() + 128 * MiB))
  limit.enter('compress')
  expect(() => allocate(256)).toThrow(ResourceError)
  allocate(32)
  limit.close()
  allocate(256)
})
test('without a budget, and in a phase that the plan does not have, nothing is limited', () => {
  new EngineLimit(budget(undefined)).enter('compress')
  allocate(256)
  new EngineLimit(budget(MiB)).enter('evaluate')
  allocate(256)
})
