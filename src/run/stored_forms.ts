/** How methods store weights in forms of their own; where data decides how much that takes, about so much. */
import type { PareWeight } from '../formats/pare_weight.ts'
import type { AqlmOptions } from '../quantize/aqlm.ts'
import type { BaqOptions } from '../quantize/baq.ts'
import type { QuipOptions } from '../quantize/quip.ts'
import type { SpqrOptions } from '../quantize/spqr.ts'
import type { EoraOptions } from '../recover/eora.ts'

type Shape = readonly [rows: number, columns: number]

/** Outliers that a usual threshold leaves. */
const outlierShare = 0.01

/** Codes on two levels of grids, outliers beside them, columns in another order. */
export function spqrForm([rows, columns]: Shape, options: SpqrOptions): PareWeight {
  const { bits = 3, groupSize = 16, scaleBits = 3, zeroBits = 3, tileRows = 16 } = options
  const { secondOrder = true, roundZero = false, actOrder = true, outlierThreshold = 0.2 } = options
  const shape: [number, number] = [rows, columns]
  const steps = { shape, bits, groupSize, scaleType: 'f16', sorted: false } as const
  const codes: PareWeight = secondOrder
    ? {
        ...{ kind: 'bilevel', shape, bits, tile: { rows: tileRows, columns: groupSize } },
        ...(scaleBits === bits ? {} : { scaleBits }),
        ...(roundZero || zeroBits === bits ? {} : { zeroBits }),
        ...(roundZero ? { wholeZeros: true as const } : {}),
      }
    : roundZero
      ? { kind: 'grid', symmetric: false, ...steps }
      : { kind: 'offset', ...steps }
  const isOutlier = outlierThreshold < Number.POSITIVE_INFINITY
  const entries = isOutlier ? Math.round(outlierShare * rows * columns) : 0
  const outliers: PareWeight = { kind: 'sparse_rows', shape, entries, valueType: 'f16' }
  const values: PareWeight =
    secondOrder || isOutlier
      ? { kind: 'sum', shape, terms: [codes, outliers], ...(secondOrder ? { rounded: 'f16' as const } : {}) }
      : codes
  return actOrder ? { kind: 'permuted', shape, values } : values
}

/** Levels of each column, in words of 64 bits. */
export function baqForm([rows, columns]: Shape, { bits = 3, centred = false }: BaqOptions): PareWeight {
  const words = columns * Math.ceil(rows / Math.floor(64 / bits))
  return { kind: 'column_levels', shape: [rows, columns], words, centred }
}

/** Codes on one grid, turned on both sides. */
export function quipForm([rows, columns]: Shape, { bits = 2 }: QuipOptions): PareWeight {
  return { kind: 'rotated_grid', shape: [rows, columns], bits }
}

/** Codes of tiles in codebooks, a scale for each row of tiles. */
export function aqlmForm(shape: Shape, options: AqlmOptions): PareWeight {
  const { books = 2, bookBits = 8, tileColumns = 8, tileRows = 1 } = options
  return {
    ...{ kind: 'codebook', shape: [...shape], bits: bookBits, books, entries: 2 ** bookBits },
    tile: { rows: tileRows, columns: tileColumns },
  }
}

/** What is there, and a product of two thin matrices. */
export function eoraForm([rows, columns]: Shape, options: EoraOptions, before: PareWeight): PareWeight {
  const { rank = 16, factorBits, factorGroupSize = 64 } = options
  const used = Math.min(rank, rows, columns)
  if (used === 0) return before
  const factor = (...shape: [number, number]): PareWeight =>
    factorBits === undefined
      ? { kind: 'dense', shape, numberType: 'f16' }
      : {
          ...{ kind: 'grid', shape, bits: factorBits, symmetric: false, scaleType: 'f16', sorted: false },
          groupSize: Math.min(factorGroupSize, shape[1]),
        }
  const shape: [number, number] = [rows, columns]
  const product: PareWeight = {
    kind: 'product',
    shape,
    left: factor(rows, used),
    right: factor(used, columns),
  }
  return { kind: 'sum', shape, terms: [before, product] }
}
