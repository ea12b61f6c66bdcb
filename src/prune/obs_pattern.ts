/** The patterns that greedy optimal brain surgeon removes weights in: single ones, n:m along the inputs, blocks of a row. */
import { OptionError } from '../tensor/errors.ts'
import { checkPattern, type Pattern } from './pattern.ts'

/** Widest block: its scores factor a matrix that wide at every step. */
const widest = 64

export type ObsPattern = (
  | { readonly kind: 'n:m'; readonly n: number; readonly m: number }
  /** Units of neighbouring columns; the last of a row may be narrower. */
  | { readonly kind: 'units'; readonly width: number }
) & {
  /** @throws OptionError where the inputs of a layer do not fit */
  check(name: string, columns: number): void
}

/** Blocks of a row, as the paper's blocks of 4. @example exactObs({ sparsity: 0.5, pattern: columnBlocks() }) */
export const columnBlocks = (width = 4): Pattern => ({ kind: 'block', shape: [1, width] })

/** @throws OptionError, which begins with `at`, for patterns in which rows are not independent */
export function obsPattern(at: string, pattern: Pattern): ObsPattern {
  checkPattern(at, pattern)
  switch (pattern.kind) {
    case 'unstructured':
      return { kind: 'units', width: 1, check() {} }
    case 'n:m': {
      const { n, m, axis = 1 } = pattern
      if (axis !== 1 && axis !== -1)
        throw new OptionError(
          `${at}: n:m groups lie along the inputs, axis 1, got axis ${axis}; leave it out`,
        )
      return {
        ...{ kind: 'n:m', n, m },
        check(name, columns) {
          if (columns % m === 0) return
          throw new OptionError(
            `${name}: ${n}:${m} needs inputs divisible by ${m}, got ${columns}; leave the weight out or change m`,
            { facts: { columns, m } },
          )
        },
      }
    }
    case 'block': {
      const [height, width] = pattern.shape
      if (height !== 1 || width > widest)
        throw new OptionError(
          `${at}: blocks have 1 row and 1 to ${widest} columns, got [${pattern.shape}]; [1, 4] is usual`,
        )
      return { kind: 'units', width, check() {} }
    }
    case 'channel':
      throw new OptionError(
        `${at}: whole channels are not removed by rows; choose unstructured, n:m or block`,
      )
  }
}
