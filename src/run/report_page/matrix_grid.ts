/** The matrices of a model as a grid: a row for each stage, a column for each kind of matrix. */
import type { LayerReport } from '../report.ts'

export interface Cell {
  layer: LayerReport
  /** What the name says without the stage and the ending, such as `self_attn.q_proj`. */
  kind: string
  /** Number of the stage. */
  stage: number
}

export interface MatrixGrid {
  stages: readonly number[]
  /** As they stand in a stage that has most of them. */
  kinds: readonly string[]
  at(stage: number, kind: string): Cell | undefined
  cells: readonly Cell[]
  /** What has no place in the grid. */
  rest: readonly LayerReport[]
}

/** A larger grid is no picture any more; what is past it goes into the list. */
const MOST_STAGES = 256
const MOST_KINDS = 16

/** Sorts matrices by their names: `model.layers.3.mlp.up_proj.weight` and `blk.3.ffn_up.weight` are of stage 3. */
export function matrixGrid(layers: readonly LayerReport[]): MatrixGrid {
  const byPlace = new Map<string, Cell>()
  const rest: LayerReport[] = []
  const stages = new Set<number>()
  const kinds = new Set<string>()
  for (const layer of layers) {
    const place = placeOf(layer.name)
    const key = place && `${place.stage} ${place.kind}`
    const fits =
      place &&
      !byPlace.has(key!) &&
      (stages.has(place.stage) || stages.size < MOST_STAGES) &&
      (kinds.has(place.kind) || kinds.size < MOST_KINDS)
    if (!fits) {
      rest.push(layer)
      continue
    }
    stages.add(place.stage)
    kinds.add(place.kind)
    byPlace.set(key!, { layer, ...place })
  }
  const cells = [...byPlace.values()]
  return {
    stages: [...stages].sort((a, b) => a - b),
    kinds: inOrder(cells, kinds),
    at: (stage, kind) => byPlace.get(`${stage} ${kind}`),
    cells,
    rest,
  }
}

/** Kinds as in the first of the stages that have most of them, then the others. */
function inOrder(cells: readonly Cell[], kinds: ReadonlySet<string>): string[] {
  const byStage = new Map<number, string[]>()
  for (const { stage, kind } of cells) byStage.set(stage, [...(byStage.get(stage) ?? []), kind])
  const fullest = [...byStage.values()].reduce((a, b) => (b.length > a.length ? b : a), [])
  return [...new Set([...fullest, ...kinds])]
}

/** Stage and kind in a name; a kind with a number in it, such as an expert, has no column of its own. */
function placeOf(name: string): { stage: number; kind: string } | undefined {
  const [, stage, kind] = /^(?:model\.layers|blk)\.(\d{1,6})\.([a-z_][\w.]{0,60})\.weight$/i.exec(name) ?? []
  if (stage === undefined || kind === undefined || /\.\d/.test(kind)) return undefined
  return { stage: Number(stage), kind }
}

/** Deviations from the median that make an outlier, as multiples of the median deviation. */
export const OUTLIER = 3
/** A kind with fewer matrices says too little about what is usual. */
const FEWEST = 5

/**
 * How far each error is from what is usual for its kind: the median of log(error) over the stages. Outliers differ
 * from it by more than 3 times the median absolute deviation. Errors of 0 take no part.
 *
 * @returns 'worse' or 'better' for outliers
 */
export function outliers(
  { cells }: MatrixGrid,
  errorOf: (layer: LayerReport) => number,
): Map<LayerReport, 'worse' | 'better'> {
  const found = new Map<LayerReport, 'worse' | 'better'>()
  for (const kind of new Set(cells.map((cell) => cell.kind))) {
    const logs = cells
      .filter((cell) => cell.kind === kind && errorOf(cell.layer) > 0)
      .map(({ layer }) => ({ layer, value: Math.log(errorOf(layer)) }))
      .filter(({ value }) => Number.isFinite(value))
    if (logs.length < FEWEST) continue
    const centre = median(logs.map(({ value }) => value))
    const deviation = median(logs.map(({ value }) => Math.abs(value - centre)))
    for (const { layer, value } of logs) {
      // Rounding of the logarithm is no deviation.
      if (Math.abs(value - centre) <= OUTLIER * deviation + 1e-9) continue
      found.set(layer, value > centre ? 'worse' : 'better')
    }
  }
  return found
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
