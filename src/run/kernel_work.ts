/**
 * Kernels and their units, and what forwards over a model and its weights ask of them.
 *
 *   product    multiply-adds of f32 products            thin      weights that meet a few tokens
 *   gram       tokens * inputs^2                        factor    inputs^3
 *   sweep:G    outputs * inputs^2 on the grid G         round:G   weights that are rounded to the grid G
 *   load:T     weights read from the type T             pack:P    weights packed for a file
 *   attention  heads * tokens^2 * head size             pointwise numbers that norms, sums and activations put out
 *   head       multiply-adds of logits                  score     logits that are compared
 *   hash       bytes                                    call      kernels that have next to nothing to do
 */
import { isBlockType } from '../nn/block_types.ts'
import type { RunFacts } from './run_facts.ts'

export type KernelName =
  | 'product'
  | 'thin'
  | 'gram'
  | 'factor'
  | 'attention'
  | 'pointwise'
  | 'head'
  | 'score'
  | 'hash'
  | 'call'
  | `sweep:${string}`
  | `round:${string}`
  | `load:${string}`
  | `pack:${string}`

/** What a probe cannot tell. */
export type AssumedName = (typeof assumedNames)[number]
export const assumedNames = ['disk', 'spill', 'text', 'vocabulary'] as const

/** Kernels, and what no probe measures because it would write to a disk or open a tokenizer. */
export type WorkName = KernelName | AssumedName

export interface Work {
  name: WorkName
  units: number
}

/** Bytes of activations that a walk holds in memory. */
export const heldActivations = 128 * 2 ** 20

/** Kernels of one block. */
export const blockCalls = 30

/** All blocks over `tokens` tokens, in sequences of `length`. */
export function forward(
  { matrices, layers, hidden }: Pick<RunFacts, 'matrices' | 'layers' | 'hidden'>,
  { tokens, length }: { tokens: number; length: number },
): Work[] {
  const weights = matrices.reduce((sum, { rows, columns }) => sum + rows * columns, 0)
  return [
    { name: 'product', units: tokens * weights },
    {
      name: 'attention',
      units: layers.reduce((sum, { heads, headSize }) => sum + heads * headSize * tokens * length, 0),
    },
    {
      name: 'pointwise',
      units: layers.reduce((sum, { intermediate }) => sum + tokens * (8 * hidden + 2 * intermediate), 0),
    },
    { name: 'call', units: (Math.ceil(tokens / 2048) + 1) * layers.length * blockCalls },
  ]
}

export const loading = ({ matrices, rest, format }: Pick<RunFacts, 'matrices' | 'rest' | 'format'>): Work[] =>
  [...matrices, ...rest].map(({ rows, columns, type }) => ({
    name: loadName(format, type),
    units: rows * columns,
  }))

/** How weights of a type are read: blocks and floats by the core, the codes of folders in words. */
export function loadName(format: string, type: string): KernelName {
  if (isBlockType(type)) return `load:${type}`
  const bits = /[2348]/.exec(type)?.[0]
  return bits === undefined || type.startsWith('F') ? 'load:F32' : `load:${format}-${bits}`
}
