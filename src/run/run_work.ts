/** What the phases of a compression ask of each kernel, counted from shapes. */
import { gridName } from '../nn/grid.ts'
import { speedRounds, speedSeconds, speedTokens } from './generation_speed.ts'
import {
  assumedNames,
  blockCalls,
  forward,
  heldActivations,
  type KernelName,
  loading,
  loadName,
  type Work,
} from './kernel_work.ts'
import { measurementWork } from './mix/measurement_work.ts'
import type { Phase } from './progress.ts'
import type { RunFacts, RunMatrix } from './run_facts.ts'

/** What each phase asks for, in the order in which they run; a phase that a run does not have asks for nothing. */
const phases: readonly { phase: Phase; work(facts: RunFacts): Work[] }[] = [
  { phase: 'verify', work: verification },
  { phase: 'measure', work: measurementWork },
  { phase: 'calibrate', work: reading },
  { phase: 'compress', work: compression },
  { phase: 'write', work: writing },
  { phase: 'evaluate', work: evaluation },
  { phase: 'sample', work: sampling },
  { phase: 'speed', work: writingTexts },
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
    // The file and its values.
    { name: 'hash', units: bytes + 4 * weights },
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

/** The source is read to know it again; the result once for its values, and both for the logits of a few tokens. */
function verification(facts: RunFacts): Work[] {
  const { hashedBytes, verified: tokens, matrices, rest, hidden, vocabulary } = facts
  const source: Work = { name: 'hash', units: hashedBytes }
  if (tokens === undefined) return [source]
  const weights = matrices.reduce((sum, { rows, columns }) => sum + rows * columns, 0)
  const bytes = [...matrices, ...rest].reduce((sum, tensor) => sum + tensor.bytes, 0)
  return [
    source,
    { name: 'hash', units: 4 * weights + bytes },
    { name: 'pointwise', units: 4 * weights },
    ...loading(facts),
    ...loadingResult(facts),
    ...loadingResult(facts),
    ...forward(facts, { tokens: 2 * tokens, length: tokens }),
    { name: 'head', units: 2 * tokens * hidden * vocabulary },
    { name: 'vocabulary', units: 2 * vocabulary },
  ]
}

/** Source and result run over the same windows. */
function evaluation(facts: RunFacts): Work[] {
  const { evaluation: windows, hidden, vocabulary } = facts
  if (!windows) return []
  const { tokens, context, vectors } = windows
  const each = [...forward(facts, { tokens, length: context }), ...loading(facts)]
  return [
    ...each,
    ...forward(facts, { tokens, length: context }),
    ...loadingResult(facts),
    { name: 'head', units: vectors ? 0 : 2 * tokens * hidden * vocabulary },
    { name: 'score', units: vectors ? 0 : tokens * vocabulary },
  ]
}

/** Tokens that are written after each of three prompts, and those of a short text that is read. */
const [written, read] = [48, 80]

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

/** Bytes of weights a second, about, by which the rounds are counted that begin within the limit. */
const usualRate = 1e10

/** Texts of source and result in turns; a token reads all weights as they are stored in memory. */
function writingTexts(facts: RunFacts): Work[] {
  const { speed, hidden, vocabulary, layers } = facts
  if (!speed) return []
  const { prompt, written } = speedTokens
  const bytes = speed.source + speed.result
  const rounds = Math.min(speedRounds, 1 + Math.floor((speedSeconds * usualRate) / (written * bytes)))
  return [
    ...loading(facts),
    ...loadingResult(facts),
    ...forward(facts, { tokens: 2 * rounds * prompt, length: prompt }),
    { name: 'head', units: 2 * rounds * hidden * vocabulary },
    { name: 'thin', units: (rounds * written * bytes) / 4 },
    { name: 'call', units: 2 * rounds * written * layers.length * blockCalls },
  ]
}

/** A whole run, whose result takes its place beside another. */
const comparison = (facts: RunFacts): Work[] => [
  ...reading(facts),
  ...compression(facts),
  ...writing(facts),
  ...evaluation(facts),
]

const loadingResult = ({ matrices, rest, target }: RunFacts): Work[] =>
  [...matrices, ...rest].map(({ rows, columns, grid, storedType }) => ({
    name: grid?.kind === 'affine' ? (`load:${target}-${grid.bits}` as const) : loadName(target, storedType),
    units: rows * columns,
  }))
