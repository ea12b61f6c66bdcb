/** How far the weights of a result are from those of its source: both are read from their files. */
import type { ModelWeights } from '../../models/model_weights.ts'
import { formOfLevels, type Levels, levelsOf, rowsOfLevels } from '../../models/regrid/levels.ts'
import { rowRanges } from '../../models/row_ranges.ts'
import { isCodedType } from '../../nn/block_types.ts'
import { decodeStored } from '../../nn/values/values.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../../tensor/index.ts'
import { blockBytes } from '../numbers_in_blocks.ts'

export interface Difference {
  /** Every value is equal; 0 and -0 are. */
  equal: boolean
  /** Largest absolute difference. */
  largest: number
  /** The same in steps of the source: relative to the scale of its group; of codes on evenly spaced levels. */
  largestInSteps?: number
  /** Sum of squares of the differences, and of the values of the source. */
  squares: number
  energy: number
}

export interface DifferenceOptions {
  /** Differences are wanted in steps too; of levels. @default false */
  steps?: boolean
  /** Some rows of the weight cost no more than they are. @default false: all are unpacked at once */
  byRows?: boolean
}

/** @throws FormatError for values that are not finite. */
export function differenceOf(
  source: ModelWeights,
  result: ModelWeights,
  name: string,
  { steps = false, byRows = false }: DifferenceOptions = {},
): Difference {
  const found: Difference = { equal: true, largest: 0, squares: 0, energy: 0 }
  scope(() => {
    const [before, after] = [partsOf(source, name, steps, byRows), partsOf(result, name, false, byRows)]
    for (const { start, end } of before.ranges)
      scope(() => {
        const [a, b] = [numbers(before.read(start, end)), numbers(after.read(start, end))]
        const step = before.steps && numbers(before.steps(start, end))
        addDifferences(found, name, a, b, step)
      })
  })
  return found
}

const numbers = (x: Tensor): Float32Array => scope(() => x.toArray()) as Float32Array

function addDifferences(
  found: Difference,
  name: string,
  a: Float32Array,
  b: Float32Array,
  step: Float32Array | undefined,
): void {
  let inSteps = found.largestInSteps ?? 0
  for (let i = 0; i < a.length; i++) {
    const [value, other] = [a[i]!, b[i]!]
    if (!Number.isFinite(value) || !Number.isFinite(other)) throw notFinite(name)
    found.energy += value * value
    if (value === other) continue
    const distance = Math.abs(value - other)
    found.equal = false
    found.squares += distance * distance
    if (distance > found.largest) found.largest = distance
    if (step) inSteps = Math.max(inSteps, distance / Math.abs(step[i]!))
  }
  if (step) found.largestInSteps = inSteps
}

const notFinite = (name: string) =>
  new FormatError(`${printable(name)}: holds values that are not finite; the file is damaged`, {
    code: 'PARE_E_NOT_FINITE',
    facts: { tensor: name },
  })

interface Parts {
  ranges: readonly { start: number; end: number }[]
  read(start: number, end: number): Tensor
  steps?(start: number, end: number): Tensor
}

/** Rows of a weight as numbers, and where wanted the step of each. What costs all rows for some is unpacked once. */
function partsOf(weights: ModelWeights, name: string, wantsSteps: boolean, byRows: boolean): Parts {
  const { shape, type } = weights.infos.get(name)!
  if (shape.length !== 2) return { ranges: [{ start: 0, end: 1 }], read: () => weights.load(name) }
  const [rows, columns] = shape as [number, number]
  const ranges = rowRanges(rows, 4 * columns, blockBytes)
  const values = byRows || isCodedType(type) ? undefined : weights.stored?.(name)
  if (values?.kind === 'grid' || values?.kind === 'offset')
    return {
      ranges,
      read: (start, end) => scope(() => decodeStored(rowsOfLevels(values, start, end))),
      ...(wantsSteps && { steps: (start: number, end: number) => stepsOf(rowsOfLevels(values, start, end)) }),
    }
  if (values) {
    const all = scope(() => decodeStored(values))
    return { ranges, read: (start, end) => all.slice(0, start, end).contiguous() }
  }
  return {
    ranges,
    read: (start, end) => weights.slice(name, start, end),
    ...(wantsSteps && {
      steps: (start: number, end: number) =>
        scope(() => stepsOf(levelsOf(weights.stored!(name, start, end)!)!)),
    }),
  }
}

/** The step of each value: what a code of 1 is with a zero of 0. */
function stepsOf(levels: Levels): Tensor {
  return scope(() => {
    const { codes, scales, groupOf } = levels
    const ones = tensor(new Uint8Array(codes.size).fill(1), codes.shape, 'u8')
    const zeros = tensor(new Uint8Array(scales.size), scales.shape, 'u8')
    return decodeStored({ kind: 'grid', grid: formOfLevels(levels), codes: ones, scales, zeros, groupOf })
  })
}
