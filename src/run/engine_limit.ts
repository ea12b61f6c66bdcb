/** Holds the tensors of a run below what its budget leaves them. */
import { heldMemory, setMemoryLimit, trimPool } from '../tensor/index.ts'
import type { MemoryBudget } from './memory_budget.ts'
import { type MemoryPhase, outsideOf } from './memory_plan.ts'

/** Sets the limit of the engine phase by phase; without `--max-memory` it does nothing. */
export class EngineLimit {
  private readonly budget: MemoryBudget

  constructor(budget: MemoryBudget) {
    this.budget = budget
  }

  /**
   * What tensors may take in a phase: the budget without what the process takes beside them, which is what it takes
   * now or, where that is more, what the phase is planned to take.
   */
  enter(name: MemoryPhase['phase']): void {
    const { maxMemory, phases } = this.budget
    const phase = phases.find((each) => each.phase === name)
    if (maxMemory === undefined || !phase) return
    trimPool()
    const beside = Math.max(process.memoryUsage.rss() - heldMemory(), outsideOf(phase))
    setMemoryLimit(Math.max(0, maxMemory - beside))
  }

  /** Takes the limit away. */
  close(): void {
    if (this.budget.maxMemory === undefined) return
    setMemoryLimit(Number.POSITIVE_INFINITY)
  }
}
