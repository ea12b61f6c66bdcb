/** The kernels of a probe, each at a shape of a run or, where those are large, at a smaller one. */
import { createHash } from 'node:crypto'
import { inverseFactor } from '../calibrate/inverse_factor.ts'
import { packAwq, unpackAwq } from '../formats/awq_packing.ts'
import { packRows, unpackRows } from '../formats/bit_stream.ts'
import { packDown, unpackDown } from '../formats/gptq_packing.ts'
import { type BlockTypeName, blockTypeOf, rowBytes } from '../nn/block_types.ts'
import { columnSweep } from '../nn/column_sweep.ts'
import { type AffineGrid, affineGrid, decodeValues, type Grid, neighbourGroups } from '../nn/grid.ts'
import {
  attention,
  linear,
  logSoftmax,
  randomStream,
  rmsNorm,
  State,
  scope,
  silu,
  type Tensor,
  tensor,
} from '../tensor/index.ts'
import type { KernelName } from './kernel_work.ts'
/** Weights of the largest matrix that is made: 16 MB in f32. */
export const mostWeights = 2 ** 22

/** A kernel at some shape: how many units one call has, and the call. */
export interface Trial {
  units: number
  call(): void
}

/** The shapes that a probe takes from a run. */
export interface ProbeShape {
  hidden: number
  intermediate: number
  heads: number
  headSize: number
  vocabulary: number
  /** Of one sequence. */
  tokens: number
  grids: ReadonlyMap<string, Grid>
  /** Of so many columns, for the sweeps: each takes longer to make than to be used. */
  factors: Map<number, Tensor>
}
/** Numbers near 1, the same in each probe. */
const normal = (shape: readonly number[]): Tensor => randomStream(0, 'probe').normal(shape, 'f32')

/** So many rows, or as many as fit. */
const rowsFor = (columns: number, rows: number) =>
  Math.max(1, Math.min(rows, Math.floor(mostWeights / columns)))

export function trialOf(name: KernelName, shape: ProbeShape): Trial {
  const [kind, of] = name.split(':') as [string, string | undefined]
  switch (kind) {
    case 'product':
      return product(shape, shape.intermediate, shape.tokens)
    case 'head':
      return product(shape, Math.min(shape.vocabulary, 16384), Math.min(256, shape.tokens))
    case 'thin':
      return thinProduct(shape)
    case 'gram':
      return gramSum(shape)
    case 'factor':
      return factorisation(shape)
    case 'sweep':
      return sweep(shape.grids.get(of!)!, shape)
    case 'round':
      return rounding(shape.grids.get(of!)!, shape)
    case 'load':
      return of!.includes('-') ? unpacking(of!) : decoding(of as BlockTypeName)
    case 'pack':
      return packing(of!)
    case 'attention':
      return attentionStep(shape)
    case 'pointwise':
      return pointwise(shape)
    case 'score':
      return scoring(shape)
    case 'hash':
      return hashing()
    default:
      return smallCall()
  }
}

/** A linear layer as models call it; the activations have as many rows as fit. */
function product({ hidden }: ProbeShape, outputs: number, tokens: number): Trial {
  const rows = rowsFor(hidden, outputs)
  const [x, weight] = [normal([tokens, hidden]), normal([rows, hidden])]
  return { units: tokens * hidden * rows, call: () => void linear(x, weight) }
}

/** Three tokens at a time read each weight once; several matrices, as one alone would stay in the caches. */
function thinProduct({ hidden, intermediate }: ProbeShape): Trial {
  const rows = rowsFor(hidden, intermediate)
  const count = Math.max(1, Math.floor((2 * mostWeights) / (rows * hidden)))
  const weights = Array.from({ length: Math.min(16, count) }, () => normal([rows, hidden]))
  const x = normal([3, hidden])
  return {
    units: weights.length * rows * hidden,
    call: () => {
      for (const weight of weights) linear(x, weight)
    },
  }
}

function gramSum({ hidden, tokens }: ProbeShape): Trial {
  const n = Math.min(2048, hidden)
  const x = normal([tokens, n])
  return {
    units: tokens * n ** 2,
    call: () => {
      const state = new State('probe', [n, n], 'f64')
      try {
        state.addGram(x)
      } finally {
        state.dispose()
      }
    },
  }
}

/** x^T x of more rows than columns, so that it has a factor. */
function gramOf(n: number): Tensor {
  return scope(() => {
    const x = normal([2 * n, n])
    const state = new State('probe', [n, n], 'f64')
    try {
      state.addGram(x)
      return state.value().duplicate()
    } finally {
      state.dispose()
    }
  })
}

const solvedWidth = ({ hidden, intermediate }: ProbeShape, most: number) =>
  Math.min(Math.max(hidden, intermediate), most)

function factorisation(shape: ProbeShape): Trial {
  const n = solvedWidth(shape, 1024)
  const gram = gramOf(n)
  return { units: n ** 3, call: () => void inverseFactor(gram, { dtype: 'f32' }) }
}

/** Made once for a probe, outside of all scopes; who made the map disposes of it. */
function factorOf(n: number, factors: Map<number, Tensor>): Tensor {
  const known = factors.get(n)
  if (known) return known
  const factor = scope(() => inverseFactor(gramOf(n), { dtype: 'f32' }).factor)
  factor.adopt()
  factors.set(n, factor)
  return factor
}

function sweep(grid: Grid, shape: ProbeShape): Trial {
  const n = fitting(grid, solvedWidth(shape, 1024))
  const factor = factorOf(n, shape.factors)
  const weight = normal([128, n])
  const order = grid.kind === 'affine' ? Uint32Array.from({ length: n }, (_, i) => n - 1 - i) : undefined
  return {
    units: 128 * n ** 2,
    call: () => void columnSweep(weight, { grid, factor, order, staticGroups: true }),
  }
}

function rounding(grid: Grid, shape: ProbeShape): Trial {
  const n = fitting(grid, shape.hidden)
  const rows = rowsFor(n, 256)
  const weight = normal([rows, n])
  return { units: rows * n, call: () => void columnSweep(weight, { grid }) }
}

/** A width that the blocks of a grid divide. */
function fitting(grid: Grid, columns: number): number {
  const unit = grid.kind === 'blocks' ? blockTypeOf(grid.type).blockLength : 32
  return Math.max(unit, Math.floor(columns / unit) * unit)
}

const [packedRows, packedColumns] = [64, 1024]
const packedWeights = packedRows * packedColumns

function decoding(type: BlockTypeName): Trial {
  const [rows, columns] = [256, packedColumns]
  const width = rowBytes(type, columns)
  const bytes = tensor(new Uint8Array(rows * width), [rows, width], 'u8')
  const values = { kind: 'blocks', type, shape: [rows, columns], bytes } as const
  return { units: rows * columns, call: () => void decodeValues(values) }
}

type Words = Int32Array | Uint32Array
interface Packer {
  pack(codes: Uint8Array, columns: number, rows: number, bits: AffineGrid['bits']): Words
  unpack(words: Words, columns: number, rows: number, bits: AffineGrid['bits']): Uint8Array
}
/** The formats whose words hold outputs, or inputs of one output; those of the others lie along the rows. */
const packers: Readonly<Record<string, Packer>> = {
  gptq: { pack: packDown, unpack: unpackDown },
  awq: { pack: packAwq, unpack: unpackAwq },
}
const alongRows: Packer = {
  pack: (codes, columns, rows, bits) => packRows(codes, rows, columns, bits),
  unpack: (words, columns, rows, bits) => unpackRows(words, rows, columns, bits),
}

/** `gptq-4`, `compressed-tensors-4`: a format and the bits of its codes. */
function codesOf(format: string): Packer & { bits: AffineGrid['bits']; codes: Uint8Array } {
  const end = format.lastIndexOf('-')
  const bits = Number(format.slice(end + 1)) as AffineGrid['bits']
  const codes = Uint8Array.from({ length: packedWeights }, (_, i) => (i * 7919) % 2 ** bits)
  return { bits, codes, ...(packers[format.slice(0, end)] ?? alongRows) }
}

function packing(format: string): Trial {
  const { bits, pack, codes } = codesOf(format)
  return { units: packedWeights, call: () => void pack(codes, packedColumns, packedRows, bits) }
}

/** Codes come out of their words and become numbers. */
function unpacking(format: string): Trial {
  const { bits, pack, unpack, codes } = codesOf(format)
  const grid = affineGrid({ bits })
  const words = pack(codes, packedColumns, packedRows, bits)
  const shape = [packedRows, packedColumns]
  const groups = [packedRows, packedColumns / 64]
  const values = {
    kind: 'grid',
    grid,
    scales: normal(groups),
    zeros: tensor(new Uint8Array(groups[0]! * groups[1]!), groups, 'u8'),
    groupOf: neighbourGroups(packedColumns, 64),
  } as const
  return {
    units: packedWeights,
    call: () => {
      const unpacked = unpack(words, packedColumns, packedRows, bits)
      decodeValues({ ...values, codes: tensor(unpacked, shape, 'u8') })
    },
  }
}

function attentionStep({ heads, headSize, tokens }: ProbeShape): Trial {
  const x = normal([1, heads, tokens, headSize])
  return {
    units: heads * headSize * tokens ** 2,
    call: () => void attention(x, x, x, { scale: headSize ** -0.5, causal: true }),
  }
}

/** A norm, a sum and a gated activation. */
function pointwise({ hidden, intermediate, tokens }: ProbeShape): Trial {
  const [x, weight] = [normal([tokens, hidden]), normal([hidden])]
  const gate = normal([tokens, intermediate])
  return {
    units: tokens * (2 * hidden + 2 * intermediate),
    call: () => {
      rmsNorm(x, weight, 1e-5).add(x)
      silu(gate).mul(gate)
    },
  }
}

/** As `metrics/language.ts` compares two models, 32 tokens at a time. */
function scoring({ vocabulary }: ProbeShape): Trial {
  const logits = normal([32, Math.min(vocabulary, 2 ** 16)])
  return {
    units: logits.size,
    call: () => {
      const [own, source] = [logSoftmax(logits), logSoftmax(logits)]
      source.exp().mul(source.sub(own)).sum([-1])
      for (const each of [own, source]) each.argmax(-1)
    },
  }
}

function hashing(): Trial {
  const bytes = new Uint8Array(2 ** 20)
  return { units: bytes.length, call: () => void createHash('sha256').update(bytes).digest() }
}

function smallCall(): Trial {
  const x = normal([3, 64])
  return {
    units: 100,
    call: () => {
      for (let i = 0; i < 100; i++) x.add(x)
    },
  }
}
