/**
 * What a measurement of levels asks of each kernel:
 *
 *   source     forwards of the windows, before the stage at hand and to the end
 *   walk       a forward of the samples, with one Gram matrix for each input of a matrix that is tried
 *   levels     each matrix goes through its steps at each level
 *   measured   each such variant runs through its own stage, all stages behind it, and the head
 *   error      each is compared with its matrix on the Gram matrix
 */
import { gridName } from '../../nn/grid.ts'
import { forward, heldActivations, loading, loadName, type Work } from '../kernel_work.ts'
import type { MeasurementFacts, RunFacts, RunMatrix } from '../run_facts.ts'

export function measurementWork(facts: RunFacts): Work[] {
  const { measurement, matrices } = facts
  if (!measurement) return []
  const measured = measurement.how === 'measured'
  const tried = measurement.stages.flatMap(({ levels }) => levels)
  const weights = loading({ ...facts, matrices, rest: [] })
  const { tokens } = measurement.windows
  return [
    { name: 'text', units: measurement.textBytes },
    { name: 'vocabulary', units: facts.vocabulary },
    ...weights,
    ...walked(facts, measurement),
    ...tried.flatMap((matrix) => rounded(matrix, measurement)),
    ...(measured
      ? [
          ...weights,
          ...forward(facts, { ...measurement.windows, tokens: 2 * tokens }),
          ...passages(facts, measurement),
        ]
      : []),
  ]
}

/** The stages in their order, with what is gathered of their inputs. */
function walked(facts: RunFacts, { samples, windows, stages }: MeasurementFacts): Work[] {
  const { hidden, layers } = facts
  const { tokens } = samples ?? windows
  const kept = layers.map(({ intermediate }) => 4 * tokens * (hidden + intermediate))
  const grams = stages.map(({ levels }, index) => {
    const { heads, headSize, intermediate } = layers[index]!
    return levels.length === 0 ? 0 : 2 * hidden ** 2 + (heads * headSize) ** 2 + intermediate ** 2
  })
  return [
    ...forward(facts, samples ?? windows),
    { name: 'pointwise', units: 6 * tokens * hidden * layers.length },
    { name: 'gram', units: samples ? tokens * grams.reduce((sum, units) => sum + units, 0) : 0 },
    ...kept.map((bytes): Work => ({ name: 'spill', units: 2 * Math.max(0, bytes - heldActivations) })),
  ]
}

function rounded({ rows, columns, grid, steps }: RunMatrix, { how }: MeasurementFacts): Work[] {
  const weights = rows * columns
  const compared: Work = { name: 'product', units: how === 'error' ? 3 * rows * columns ** 2 : 0 }
  const copied: Work = { name: 'pointwise', units: weights }
  if (!grid) return [compared, copied]
  const solved = steps.filter((method) => method !== 'rtn').length
  const name = gridName(grid)
  return [
    compared,
    copied,
    { name: 'factor', units: solved * columns ** 3 },
    { name: `sweep:${name}`, units: solved * rows * columns ** 2 },
    { name: `round:${name}`, units: steps.length * weights },
  ]
}

/** Of all variants of a stage together: the stages behind it and the head are loaded once for them. */
function passages(facts: RunFacts, { windows, stages }: MeasurementFacts): Work[] {
  const { hidden, vocabulary, rest, format } = facts
  const { tokens } = windows
  const work: Work[] = []
  let [variants, loads] = [0, 0]
  for (const [index, { matrices, levels }] of stages.entries()) {
    const stage = { ...facts, matrices, rest: [], layers: [facts.layers[index]!] }
    const own = levels.length
    work.push(...forward(stage, { ...windows, tokens: (variants + own) * tokens }))
    work.push(...loading(stage).map(({ name, units }) => ({ name, units: loads * units })))
    // Variants of an earlier stage are stacked, and cut into copies.
    work.push({ name: 'pointwise', units: 2 * variants * tokens * hidden })
    if (own === 0) continue
    const spilled = Math.max(0, 4 * own * tokens * hidden - heldActivations)
    work.push(
      { name: 'head', units: (own + 1) * tokens * hidden * vocabulary },
      // Half of what two models take, and the probabilities of the source.
      { name: 'score', units: (own / 2 + 1) * tokens * vocabulary },
      { name: 'spill', units: 2 * (stages.length - index) * spilled },
    )
    variants += own
    loads += 1
  }
  const head = rest.filter(({ rows }) => rows === vocabulary).at(-1)
  if (head) work.push({ name: loadName(format, head.type), units: loads * vocabulary * hidden })
  return work
}
