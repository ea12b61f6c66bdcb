import { gridName } from '../nn/grid.ts'
import { AbortError } from '../tensor/errors.ts'
import { scope, trimPool } from '../tensor/index.ts'
import type { RunHooks } from './evaluate.ts'
import { mostWeights, type ProbeShape, type Trial, trialOf } from './kernel_trials.ts'
import type { KernelName } from './kernel_work.ts'
import type { RunFacts } from './run_facts.ts'
import { kernelsOf } from './run_work.ts'
import type { Rate } from './time_plan.ts'

/** Seconds for all readings together; a model whose whole run takes no longer gets less. */
const budget = 2.4
const weightsForAll = 2e7
/** Readings of a kernel in a round at most, behind one that warms up. */
const mostReadings = 5
const rounds = 2
/**
 * A rate for each kernel that a run asks for. Progress has a line for each; the thread is free between two kernels.
 *
 * @throws AbortError when `signal` stops it, NativeError without the native core.
 * @example const rates = await probeKernels(facts)
 */
export async function probeKernels(
  facts: RunFacts,
  { progress, signal }: RunHooks = {},
): Promise<Map<KernelName, Rate>> {
  const shape = shapeOf(facts)
  const names = kernelsOf(facts)
  const readings = new Map<KernelName, number[]>(names.map((name) => [name, []]))
  const weights = facts.matrices.reduce((sum, { rows, columns }) => sum + rows * columns, 0)
  const end = performance.now() + 1000 * budget * Math.min(1, weights / weightsForAll)
  try {
    const trials = Array.from({ length: rounds }, () => names).flat()
    for (const [index, name] of trials.entries()) {
      progress?.({ kind: 'progress', phase: 'probe', share: index / trials.length, text: name })
      await new Promise((resolve) => setImmediate(resolve))
      if (signal?.aborted) throw new AbortError()
      const seconds = (end - performance.now()) / 1000 / (trials.length - index)
      readings.get(name)!.push(...scope(() => readingsOf(trialOf(name, shape), seconds)))
      // The next one needs blocks of other sizes.
      trimPool()
    }
  } finally {
    for (const factor of shape.factors.values()) factor.dispose()
    trimPool()
  }
  return new Map([...readings].map(([name, all]) => [name, rateOf(all)]))
}

/** Seconds a unit: one call to warm up, then readings as long as there is time, one at least. */
function readingsOf({ units, call }: Trial, seconds: number): number[] {
  const once = () => {
    const start = performance.now()
    scope(call)
    return (performance.now() - start) / 1000 / units
  }
  const start = performance.now()
  const first = once()
  // One that is too slow for the time it has is not called twice.
  if (first * units > seconds / 2) return [first]
  const readings: number[] = []
  do readings.push(once())
  while (readings.length < mostReadings && performance.now() - start < 1000 * seconds)
  return readings
}

function rateOf(readings: number[]): Rate {
  readings.sort((a, b) => a - b)
  const at = (share: number) => readings[Math.round(share * (readings.length - 1))]!
  return { low: at(0.1), middle: (at(0.4) + at(0.6)) / 2, high: at(0.9) }
}

function shapeOf({
  layers,
  hidden,
  vocabulary,
  calibration,
  evaluation,
  matrices,
  rest,
  measurement,
  baseline,
}: RunFacts): ProbeShape {
  const largest = layers.toSorted((a, b) => b.intermediate - a.intermediate)[0]!
  const tried = measurement?.stages.flatMap(({ levels }) => levels) ?? []
  const grids = [...matrices, ...rest, ...tried, ...(baseline?.matrices ?? [])].flatMap(({ grid }) =>
    grid ? [[gridName(grid), grid] as const] : [],
  )
  // A header may lie: no width makes a probe large.
  const [width, intermediate] = [Math.min(hidden, 2 ** 14), Math.min(largest.intermediate, 2 ** 16)]
  const headSize = Math.min(largest.headSize, 2 ** 10)
  const heads = Math.min(largest.heads, Math.max(1, Math.floor(2 ** 14 / headSize)))
  const length = calibration?.length ?? measurement?.windows.length ?? evaluation?.context ?? 512
  return {
    hidden: width,
    intermediate,
    heads,
    headSize,
    vocabulary,
    tokens: Math.min(512, length, Math.floor(mostWeights / Math.max(width, intermediate))),
    grids: new Map(grids),
    factors: new Map(),
  }
}
