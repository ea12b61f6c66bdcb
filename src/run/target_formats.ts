/** What the formats of results can hold; which of them a target takes stands in `targets.ts`. */
import { blockTypeNames, codedTypeNames } from '../nn/block_types.ts'

export interface FormatFacts {
  /** For messages: `a GPTQ checkpoint`. */
  readonly title: string
  /** Linear weights are of named block types, or on evenly spaced levels. */
  readonly weights: 'blocks' | 'levels'
  /** Widths that each weight can have for itself, and those that are tried where none are named; absent where all share one. */
  readonly widths?: {
    readonly possible: readonly (string | number)[]
    readonly usual: readonly (string | number)[]
  }
  /** What embedding and head can be asked to be; nothing where they are half floats. */
  readonly embedding: readonly string[]
  /** What the network can be asked to compute in, the first by default; nothing where its program decides. */
  readonly activations: readonly ('F32' | 'F16')[]
  /** Weights are dealt to files of a chosen size. */
  readonly shards: boolean
  /** Each column can name its group, so that sorted ones can share a scale. */
  readonly namesGroups: boolean
  /** Smallest zero that is stored. */
  readonly zeroLow: 0 | 1
  /** Weights may have any form: masks, codebooks, sums. */
  readonly trees: boolean
}

const bits = [2, 3, 4, 8]
const folder = {
  weights: 'levels',
  embedding: [],
  activations: [],
  shards: true,
  namesGroups: false,
  zeroLow: 0,
  trees: false,
} as const
/** Everything that is no codes has one type. */
const onnx = {
  ...folder,
  widths: { possible: [4, 8], usual: [4, 8] },
  embedding: ['F32', 'F16'],
  activations: ['F32', 'F16'],
  shards: false,
} as const

export const targetFormats = {
  gguf: {
    ...folder,
    title: 'a GGUF file',
    weights: 'blocks',
    widths: { possible: codedTypeNames, usual: ['Q2_K', 'Q3_K', 'Q4_K', 'Q5_K', 'Q6_K', 'Q8_0'] },
    embedding: ['keep', ...blockTypeNames],
    shards: false,
  },
  // The first version stores zeros less 1.
  gptq: { ...folder, title: 'a GPTQ checkpoint', namesGroups: true, zeroLow: 1 },
  gptq_v2: { ...folder, title: 'a GPTQ checkpoint', namesGroups: true },
  awq: { ...folder, title: 'an AWQ checkpoint' },
  'compressed-tensors': {
    ...folder,
    title: 'a compressed-tensors checkpoint',
    widths: { possible: bits, usual: bits },
  },
  mlx: { ...folder, title: 'an MLX folder', widths: { possible: bits, usual: bits } },
  onnx: { ...onnx, title: 'an ONNX file' },
  'transformers.js': { ...onnx, title: 'a folder for transformers.js' },
  pare: {
    ...folder,
    title: 'a Pare folder',
    widths: { possible: bits, usual: bits },
    embedding: blockTypeNames,
    namesGroups: true,
    trees: true,
  },
} as const satisfies Readonly<Record<string, FormatFacts>>

export type FormatName = keyof typeof targetFormats
export const formatFacts = (name: FormatName): FormatFacts => targetFormats[name]
