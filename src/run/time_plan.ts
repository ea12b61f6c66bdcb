/**
 * How long a compression will take: what its phases ask of each kernel (`run_work.ts`), times what a unit of that kernel
 * takes on this machine (`kernel_probe.ts`).
 */

import type { AssumedName, KernelName, WorkName } from './kernel_work.ts'
import type { Phase } from './progress.ts'
import type { RunFacts } from './run_facts.ts'
import { workOf } from './run_work.ts'

/** Seconds a unit: of the quicker, the middle and the slower readings. */
export interface Rate {
  low: number
  middle: number
  high: number
}

export interface PhaseTime {
  phase: Phase
  from: number
  to: number
}

/** Seconds that a run takes, from its plan to its end. */
export interface TimeRange {
  from: number
  to: number
  /** Threads that it is for. */
  threads: number
  phases: readonly PhaseTime[]
}

const assumed = {
  /** Bytes that are written and flushed. */
  disk: { low: 1 / 2e9, middle: 1 / 8e8, high: 1 / 2e8 },
  /** Bytes of activations that do not fit in memory, into a file and back. */
  spill: { low: 1 / 4e9, middle: 1 / 1.5e9, high: 1 / 5e8 },
  /** Bytes of text that are turned into tokens. */
  text: { low: 1 / 2e7, middle: 1 / 4e6, high: 1 / 1e6 },
  /** Tokens that a tokenizer knows when it is opened. */
  vocabulary: { low: 2e-6, middle: 6e-6, high: 1.5e-5 },
} satisfies Record<AssumedName, Rate>
/** What counts do not hold: caches that are colder than in a probe, and the work between kernels. */
const quickest = 0.8
const slowest = 1.45
/** The ends of a range are at most so far apart. */
const widest = 2.5
/** Seconds that the start of a run and small files may take, whatever the model is. */
const least = 2

/**
 * The seconds of a run. Readings that differ widen the range, to a factor of 2.5 at most.
 *
 * @param rates of every kernel that `kernelsOf` names
 * @example timeRange(facts, await probeKernels(facts), { threads: 2 })
 */
export function timeRange(
  facts: RunFacts,
  rates: ReadonlyMap<KernelName, Rate>,
  { threads }: { threads: number },
): TimeRange {
  const rateOf = (name: WorkName) =>
    Object.hasOwn(assumed, name) ? assumed[name as AssumedName] : rates.get(name as KernelName)!
  const times = workOf(facts).map(({ phase, work }) => {
    const seconds = (which: keyof Rate) =>
      work.reduce((sum, { name, units }) => sum + units * rateOf(name)[which], 0)
    return { phase, ...within(seconds('low') * quickest, seconds('middle'), seconds('high') * slowest) }
  })
  const sum = (end: 'from' | 'to') => times.reduce((total, time) => total + time[end], 0)
  const [from, to] = [sum('from'), sum('to')]
  return { from: to < least ? 0 : from, to: Math.max(to, least), threads, phases: times }
}

/** The ends, moved towards the middle where they are too far apart. */
function within(from: number, middle: number, to: number): { from: number; to: number } {
  if (to <= from * widest) return { from, to }
  const [below, above] = [Math.log(middle / from), Math.log(to / middle)]
  const share = Math.log(widest) / (below + above)
  return { from: middle * Math.exp(-below * share), to: middle * Math.exp(above * share) }
}
