/**
 * What the phases of a compression ask of each kernel, counted from shapes.
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
import { gridName } from '../nn/grid.ts'
import type { Phase } from './progress.ts'
import type { RunFacts, RunMatrix } from './run_facts.ts'

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
const assumedNames = ['disk', 'spill', 'text', 'vocabulary'] as const

/** Kernels, and what no probe measures because it would write to a disk or open a tokenizer. */
export type WorkName = KernelName | AssumedName

export interface Work {
  name: WorkName
  units: number
}

/** What each phase asks for, in the order in which they run; a phase that a run does not have asks for nothing. */
const phases: readonly { phase: Phase; work(facts: RunFacts): Work[] }[] = [
  { phase: 'verify', work: ({ hashedBytes }) => [{ name: 'hash', units: hashedBytes }] },
  { phase: 'calibrate', work: reading },
  { phase: 'compress', work: compression },
  { phase: 'write', work: writing },
  { phase: 'evaluate', work: evaluation },
  { phase: 'sample', work: sampling },
  { phase: 'baseline', work: ({ baseline }) => (baseline ? comparison(baseline) : []) },
]

/** What a run asks for, by phase. */
export const workOf = (facts: RunFacts): { phase: Phase; work: Work[] }[] =>
  phases
    .map(({ phase, work }) => ({ phase, work: work(facts).filter(({ units }) => units > 0) }))
    .filter(({ work }) => work.length > 0)

/** The kernels that a run asks for, each once. */
export const kernelsOf = (facts: RunFacts): KernelName[] => [
  ...new Set(
    workOf(facts).flatMap(({ work }) =>
      work.flatMap(({ name }) =>
        (assumedNames as readonly string[]).includes(name) ? [] : [name as KernelName],
      ),
    ),
  ),
]

function reading({ textBytes, vocabulary, evaluation }: RunFacts): Work[] {
  // The result has a tokenizer of its own.
  const tokenizers = (textBytes > 0 ? 1 : 0) + (evaluation ? 1 : 0)
  return [
    { name: 'text', units: textBytes },
    { name: 'vocabulary', units: tokenizers * vocabulary },
  ]
}

/** Bytes of activations that a walk holds in memory. */
const heldActivations = 128 * 2 ** 20

function compression(facts: RunFacts): Work[] {
  const { matrices, calibration, layers, hidden } = facts
  const work = matrices.flatMap((matrix) => rounding(matrix, facts))
  if (!calibration) return work
  const { tokens, length, sequential } = calibration
  const inputs = layers.flatMap(({ heads, headSize, intermediate }) => [
    hidden,
    heads * headSize,
    hidden,
    intermediate,
  ])
  return [
    ...work,
    ...forward(facts, { tokens: sequential ? tokens : 2 * tokens, length }),
    { name: 'gram', units: tokens * inputs.reduce((sum, n) => sum + n ** 2, 0) },
    // The inputs of the next stage are kept, and read again for each group of weights.
    { name: 'disk', units: 4 * tokens * hidden * (layers.length - 1) },
    { name: 'pointwise', units: 6 * tokens * hidden * layers.length },
    ...layers.map(
      ({ intermediate }): Work => ({
        name: 'spill',
        units: 2 * Math.max(0, 4 * tokens * (hidden + intermediate) - heldActivations),
      }),
    ),
  ]
}

/** A matrix goes through its steps, is compared with round-to-nearest, packed and stored. */
function rounding({ rows, columns, type, grid, steps, bytes }: RunMatrix, facts: RunFacts): Work[] {
  const weights = rows * columns
  const compared: Work = facts.calibration
    ? { name: 'product', units: (grid ? 3 : 2) * rows * columns ** 2 }
    : { name: 'pointwise', units: 6 * weights }
  const stored: Work[] = [
    { name: loadName(facts.format, type), units: weights },
    { name: 'pointwise', units: 3 * weights },
    compared,
    { name: 'disk', units: bytes },
    { name: 'hash', units: bytes },
  ]
  if (!grid) return stored
  const name = gridName(grid)
  const solved = steps.filter((method) => method !== 'rtn').length
  const nearest = steps.length + (facts.method === 'rtn' ? 0 : 1)
  return [
    ...stored,
    { name: 'factor', units: solved * columns ** 3 },
    { name: `sweep:${name}`, units: solved * rows * columns ** 2 },
    { name: `round:${name}`, units: nearest * weights },
    ...packing(facts, grid.kind === 'blocks' ? undefined : grid.bits, weights),
  ]
}

const packing = ({ target }: RunFacts, bits: number | undefined, weights: number): Work[] =>
  bits === undefined ? [] : [{ name: `pack:${target}-${bits}`, units: weights }]

/** All shards are read again, and what is no matrix is stored. */
function writing({ matrices, rest, format }: RunFacts): Work[] {
  const shards = matrices.reduce((sum, { bytes }) => sum + bytes, 0)
  return [
    { name: 'hash', units: shards },
    { name: 'disk', units: shards },
    ...rest.flatMap(({ rows, columns, type, grid, bytes, kept }): Work[] => [
      { name: 'disk', units: bytes },
      ...(kept
        ? []
        : [
            { name: loadName(format, type), units: rows * columns },
            ...(grid ? [{ name: `round:${gridName(grid)}` as const, units: rows * columns }] : []),
          ]),
    ]),
  ]
}

/** Source and result run over the same windows. */
function evaluation(facts: RunFacts): Work[] {
  const { evaluation: windows, hidden, vocabulary } = facts
  if (!windows) return []
  const { tokens, context } = windows
  const each = [...forward(facts, { tokens, length: context }), ...loading(facts)]
  return [
    ...each,
    ...forward(facts, { tokens, length: context }),
    ...loadingResult(facts),
    { name: 'head', units: 2 * tokens * hidden * vocabulary },
    { name: 'score', units: tokens * vocabulary },
  ]
}

/** Tokens that are written after each of three prompts, and those of a short text that is read. */
const [written, read] = [48, 80]
/** Kernels of one block. */
const blockCalls = 30

function sampling(facts: RunFacts): Work[] {
  const { sideBySide, hidden, vocabulary, layers } = facts
  if (!sideBySide) return []
  const weights = facts.matrices.reduce((sum, { rows, columns }) => sum + rows * columns, 0)
  return [
    ...loading(facts),
    ...loadingResult(facts),
    ...forward(facts, { tokens: 2 * read, length: read }),
    { name: 'head', units: 2 * read * hidden * vocabulary },
    { name: 'thin', units: 2 * written * (weights + hidden * vocabulary) },
    { name: 'call', units: 2 * written * layers.length * blockCalls },
  ]
}

/** A whole run, whose result takes its place beside another. */
const comparison = (facts: RunFacts): Work[] => [
  ...reading(facts),
  ...compression(facts),
  ...writing(facts),
  ...evaluation(facts),
]

/** All blocks over `tokens` tokens, in sequences of `length`. */
function forward(
  { matrices, layers, hidden }: RunFacts,
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

const loading = ({ matrices, rest, format }: RunFacts): Work[] =>
  [...matrices, ...rest].map(({ rows, columns, type }) => ({
    name: loadName(format, type),
    units: rows * columns,
  }))

const loadingResult = ({ matrices, rest, target }: RunFacts): Work[] =>
  [...matrices, ...rest].map(({ rows, columns, grid, storedType }) => ({
    name: grid?.kind === 'affine' ? (`load:${target}-${grid.bits}` as const) : loadName(target, storedType),
    units: rows * columns,
  }))

/** How weights of a type are read: blocks and floats by the core, the codes of folders in words. */
function loadName(format: string, type: string): KernelName {
  if (isBlockType(type)) return `load:${type}`
  const bits = /[2348]/.exec(type)?.[0]
  return bits === undefined || type.startsWith('F') ? 'load:F32' : `load:${format}-${bits}`
}
