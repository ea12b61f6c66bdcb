/** What SparseGPT, Wanda and one-shot magnitude pruning share: what they are told, and how what lives is stored. */
import type { Diagnostics, LayerEdit, LayerTask } from '../calibrate/method.ts'
import type { AffineGrid } from '../nn/grid.ts'
import type { SparseSweepResult } from '../nn/sparse_sweep.ts'
import { bitmaskOf } from '../nn/values/bitmask.ts'
import { storedSource } from '../nn/values/values.ts'
import { OptionError } from '../tensor/errors.ts'
import type { Tensor } from '../tensor/index.ts'
import { checkPattern, type Pattern, unstructured } from './pattern.ts'

export interface OneShotOptions {
  /** Share of weights that become 0, in [0, 1], rounded down; above 0.6 models break soon. @default 0.5, or of n:m its own */
  sparsity?: number
  /** Anywhere, or all but n of every m inputs, for hardware that skips them; n:m loses more. @default unstructured */
  pattern?: Pattern
  /** Type that living weights are stored in; bf16 where they go past 65504, f32 to keep all digits. @default 'f16' */
  numbers?: 'f16' | 'bf16' | 'f32'
}

type Groups = Pattern & { kind: 'n:m' }

export interface CheckedOneShot {
  readonly sparsity: number
  /** Of n:m; absent where zeros may be anywhere. */
  readonly groups?: Groups
  readonly numbers: 'f16' | 'bf16' | 'f32'
}

/** @throws OptionError, which begins with the name of the method */
export function checkedOneShot(
  method: string,
  { sparsity, pattern = unstructured, numbers = 'f16' }: OneShotOptions,
): CheckedOneShot {
  checkPattern(method, pattern)
  if (sparsity !== undefined && !(sparsity >= 0 && sparsity <= 1))
    throw new OptionError(`${method}: the sparsity must be in [0, 1], got ${sparsity}; 0.5 is usual`)
  if (!['f16', 'bf16', 'f32'].includes(numbers))
    throw new OptionError(`${method}: numbers are f16, bf16 or f32, got ${numbers}; f16 is usual`)
  if (pattern.kind === 'unstructured') return { sparsity: sparsity ?? 0.5, numbers }
  if (pattern.kind !== 'n:m' || ![undefined, 1, -1].includes(pattern.axis))
    throw new OptionError(
      `${method}: prunes anywhere or n of every m inputs, got the pattern ${pattern.kind}${pattern.kind === 'n:m' ? ` along axis ${pattern.axis}` : ''}; choose unstructured or n:m`,
    )
  const own = 1 - pattern.n / pattern.m
  if (sparsity !== undefined && Math.abs(sparsity - own) > 1e-9)
    throw new OptionError(
      `${method}: ${pattern.n}:${pattern.m} has a sparsity of ${own}, got ${sparsity}; leave the sparsity out`,
    )
  return { sparsity: own, groups: pattern, numbers }
}

/** Of `size` weights those that become 0: the whole part of the share, as it is written in decimals. @example zerosOf(100, 0.29) // 29 */
export const zerosOf = (size: number, sparsity: number): number => Math.floor(size * (sparsity + 2 ** -50))

/** @throws OptionError for rows that are not whole groups */
export function checkGroups(name: string, columns: number, groups: Groups | undefined): void {
  if (!groups || columns % groups.m === 0) return
  throw new OptionError(
    `${name}: ${groups.n}:${groups.m} needs inputs divisible by ${groups.m}, got ${columns}; leave the weight out or change the pattern`,
    { facts: { inputs: columns, m: groups.m } },
  )
}

/** The grid of a step that prunes and rounds at once. @throws OptionError for one that has no place for a mask */
export function jointGrid({ name, grid }: LayerTask): AffineGrid | undefined {
  if (grid === undefined || grid.kind === 'affine') return grid
  throw new OptionError(
    `${name}: pruned weights are stored on evenly spaced levels, got ${grid.type}; choose bits and groups instead, or leave the grid out`,
  )
}

/** What becomes of a layer. */
export function prunedEdit(
  { dense, mask, values }: SparseSweepResult,
  numbers: CheckedOneShot['numbers'],
  diagnostics: Diagnostics,
): LayerEdit {
  const source = storedSource(values ?? bitmaskOf(dense, mask, numbers))
  return { source, decoded: wide(dense), mask, diagnostics }
}

const wide = (dense: Tensor): Tensor => (dense.dtype === 'f32' ? dense : dense.cast('f32'))
