/** Writes the weights of a conversion, one after another, rows of large ones a part at a time. */
import type { ModelWeights } from '../../models/model_weights.ts'
import { levelsOf } from '../../models/regrid/levels.ts'
import { regrid } from '../../models/regrid/regrid.ts'
import { type RowRange, rowRanges } from '../../models/row_ranges.ts'
import type { EncodedTensor, ModelWriter, TargetPlan } from '../../models/write/model_writer.ts'
import type { TensorPlan } from '../../models/write/tensor_plan.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import type { Values } from '../../nn/grid.ts'
import { type StoredValues, storedSource } from '../../nn/values/values.ts'
import { AbortError } from '../../tensor/errors.ts'
import { concat, scope } from '../../tensor/index.ts'
import type { RunHooks } from '../evaluate.ts'
import { blockBytes, writeInBlocks } from '../numbers_in_blocks.ts'
import type { Carriage } from './carriage.ts'

/** Every weight of the plan into the writer, which is left to the caller to finish. @throws AbortError between two weights */
export async function writeConverted(
  { weights }: { weights: ModelWeights },
  target: TargetPlan,
  carriages: ReadonlyMap<string, Carriage>,
  writer: ModelWriter,
  { progress, signal }: RunHooks,
): Promise<void> {
  for (const [index, plan] of target.tensors.entries()) {
    await new Promise((done) => setImmediate(done))
    if (signal?.aborted) throw new AbortError()
    progress?.({ kind: 'progress', phase: 'write', share: index / target.tensors.length, text: plan.name })
    const values = valuesOf(weights, plan, carriages.get(plan.name)!)
    if (!values) {
      writeInBlocks(target, plan, weights, writer)
      continue
    }
    const append = appending(target, plan, writer)
    for (const rows of parts(target, plan)) {
      scope(() => target.encodeSource(plan, storedSource(values(rows))).forEach(append))
    }
  }
}

/** Rows that are encoded at a time: all of them where the format needs all. */
function parts(target: TargetPlan, plan: TensorPlan): RowRange[] {
  const [rows, columns] = plan.shape as [number, number]
  // Matrices are whole in most formats of sources, so that some of their rows cost what all do.
  const isWhole = plan.role === 'matrix' || !target.byRows?.(plan)
  return isWhole ? [{ start: 0, end: rows }] : rowRanges(rows, 4 * columns, blockBytes)
}

/** What makes the values of some rows; nothing for numbers and for what is kept. */
function valuesOf(
  weights: ModelWeights,
  { name, shape, grid, described, kept }: TensorPlan,
  carriage: Carriage,
): ((rows: RowRange) => StoredValues) | undefined {
  if (kept || (!grid && !described)) return undefined
  if (carriage.how === 'stored') return ({ start, end }) => weights.stored!(name, start, end)!
  if (carriage.how === 'levels')
    return ({ start, end }) =>
      scope(() => regrid(levelsOf(weights.stored!(name, start, end)!)!, carriage.form))
  const columns = shape[1]!
  return ({ start, end }) => {
    // Rows are rounded by themselves, so that parts of them are those of the whole.
    const rounded = rowRanges(end - start, 4 * columns, blockBytes).map((part) =>
      scope(() => {
        const dense = weights.slice(name, start + part.start, start + part.end)
        return columnSweep(dense, { grid: grid! }).values
      }),
    )
    return rounded.length === 1 ? rounded[0]! : scope(() => joined(rounded))
  }
}

/** Values of rows one below the other. */
function joined(parts: readonly Values[]): Values {
  const [first] = parts
  if (first!.kind === 'blocks') {
    const blocks = parts as (Values & { kind: 'blocks' })[]
    const rows = blocks.reduce((sum, { shape }) => sum + shape[0], 0)
    return { ...first!, shape: [rows, first!.shape[1]], bytes: concat(blocks.map(({ bytes }) => bytes)) }
  }
  const grids = parts as (Values & { kind: 'grid' })[]
  return {
    ...first!,
    codes: concat(grids.map(({ codes }) => codes)),
    scales: concat(grids.map(({ scales }) => scales)),
    zeros: concat(grids.map(({ zeros }) => zeros)),
  }
}

/** Appends what a part gives; what is said of columns is the same in every part, and complete with the first one. */
function appending(
  target: TargetPlan,
  plan: TensorPlan,
  writer: ModelWriter,
): (tensor: EncodedTensor) => void {
  const missing = new Map(target.stored(plan).map(({ name, bytes }) => [name, bytes]))
  return ({ name, bytes }) => {
    const left = missing.get(name) ?? 0
    if (left === 0) return
    writer.append(name, bytes)
    missing.set(name, left - bytes.length)
  }
}
