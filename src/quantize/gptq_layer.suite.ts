/** One layer through GPTQ and through rounding to nearest, and what came of it as plain numbers. */
import { type AffineGrid, type AffineValues, affineGrid, type Grid, type GridSource } from '../nn/grid.ts'
import type { SyntheticLayer } from '../nn/synthetic_layer.suite.ts'
import { type Tensor, tensor } from '../tensor/index.ts'
import { type GptqOptions, gptq } from './gptq.ts'
import { rtn } from './rtn.ts'

export const numbers = (x: Tensor) => Array.from(x.toArray(), Number)
export const diagonal = (values: readonly number[]) =>
  tensor(
    Float64Array.from({ length: values.length ** 2 }, (_, i) =>
      i % (values.length + 1) === 0 ? values[i % values.length]! : 0,
    ),
    [values.length, values.length],
    'f64',
  )

export type Layer = Pick<SyntheticLayer, 'weight' | 'gram'> & { inputs?: Tensor }

export function run({ weight, gram, inputs }: Layer, grid: Grid, options: GptqOptions = {}) {
  const rows = inputs?.extent(0) ?? 10_000
  return gptq(options).compress({
    name: 'block.0/q',
    dense: weight,
    current: weight,
    statistics: { gram, rows },
    grid,
  })
}
export const nearest = ({ weight }: Layer, grid: Grid) =>
  rtn().compress({ name: 'block.0/q', dense: weight, current: weight, statistics: { rows: 0 }, grid })
export const valuesOf = (edit: ReturnType<typeof run>) => (edit.source as GridSource).values as AffineValues
export const codesOf = (edit: ReturnType<typeof run>) => numbers(valuesOf(edit).codes)

/** One f32 scale a row: the setting of the reference. */
export const rowGrid = (bits: AffineGrid['bits']) => affineGrid({ bits, groupSize: 'row', scaleType: 'f32' })
