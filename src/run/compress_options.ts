/** What a compression is asked to do, with every default and rule in one place. */

import { type BlockTypeName, bitsPerWeight, blockTypeNames, codedTypeNames } from '../nn/block_types.ts'
import { type AffineGrid, affineGrid, checkGrid } from '../nn/grid.ts'
import { type QuantizerName, quantizers } from '../quantize/methods.ts'
import { OptionError, printable } from '../tensor/errors.ts'

export const targets = ['gguf', 'gptq', 'pare'] as const
export type TargetName = (typeof targets)[number]

export interface CompressOptions {
  /** A path, `pypi:NAME==V`, `npm:NAME@V` or `hf:ORG/NAME`. */
  source: string
  /** Folder for the result. */
  output: string
  /** @default 'gptq' */
  method?: QuantizerName
  /** @default 'pare' */
  target?: TargetName
  /** Block type of GGUF files; for the target gguf only. @default 'Q4_K' */
  scheme?: string
  /** 2, 3, 4 or 8; for the targets gptq and pare. @default 4 */
  bits?: number
  /** Columns per scale; for the targets gptq and pare. @default 64 */
  groupSize?: number | 'row'
  /** The zero stands in the middle of the codes. @default false */
  symmetric?: boolean
  /** Searches a narrower range for each group. @default false */
  search?: boolean
  /** GPTQ sweeps the inputs with the most energy first. @default true, but false for the target gguf */
  actOrder?: boolean
  /** With act-order: groups stay neighbours, fitted before the sweep. Block types always do. @default true */
  staticGroups?: boolean
  /** Weights of a stage see the outputs of the compressed ones before them. @default true */
  trueSequential?: boolean
  /** Added to the diagonal of the Gram matrix, as a share of its mean. @default 0.01 */
  damping?: number
  /** @default 'throw' */
  onSingular?: 'throw' | 'round'
  /** Type of the embedding and the head: `keep`, F16, or a block type. @default what the target says */
  embedding?: string
  /** A block type may be replaced where 256 does not divide the rows. @default true */
  fallback?: boolean
  /** Text or JSONL files to calibrate with. @default the text that comes with Pare */
  calibration?: readonly string[]
  /** @default 40 */
  samples?: number
  /** Tokens a sample. @default 512 */
  length?: number
  /** @default 0 */
  seed?: number
  /** Whether the result is compared with its source. @default true */
  evaluate?: boolean
  /**
   * Whether source and result also continue some prompts, side by side; only with `evaluate`. Each is loaded whole for
   * it, in f32. @default where that takes no more memory than the run has taken by then, or than 1 GiB
   */
  sideBySide?: boolean
  /** Text files to evaluate with. @default the text that comes with Pare */
  text?: readonly string[]
  /** @default 512 */
  context?: number
  /** @default 20 */
  windows?: number
  /** @default 1 */
  every?: number
  /** Replaces a folder that is not empty. @default false */
  overwrite?: boolean
  /** Folder for activations that do not fit in memory. @default beside the output */
  scratch?: string
  /** Uses only what is on disk. @default false */
  offline?: boolean
}

/** Options with every default filled in, and the grid of the target. */
export interface ResolvedCompressOptions {
  source: string
  output: string
  method: QuantizerName
  target: TargetName
  scheme: BlockTypeName | undefined
  grid: AffineGrid | undefined
  actOrder: boolean
  staticGroups: boolean
  trueSequential: boolean
  damping: number
  onSingular: 'throw' | 'round'
  embedding: string | undefined
  fallback: boolean
  calibration: readonly string[] | undefined
  samples: number
  length: number
  seed: number
  evaluate: boolean
  sideBySide: boolean | undefined
  text: readonly string[] | undefined
  context: number
  windows: number
  every: number
  overwrite: boolean
  scratch: string | undefined
  offline: boolean
}

/** @throws OptionError for the first rule that is broken. */
export function resolveOptions(options: CompressOptions): ResolvedCompressOptions {
  const { method = 'gptq', target = 'pare', seed = 0 } = options
  if (!Object.hasOwn(quantizers, method)) {
    throw new OptionError(
      `--method: there is no ${printable(String(method))}; possible are ${Object.keys(quantizers).join(', ')}`,
    )
  }
  if (!targets.includes(target)) {
    throw new OptionError(
      `--target: there is no ${printable(String(target))}; possible are ${targets.join(', ')}`,
    )
  }
  if (typeof options.source !== 'string' || options.source === '') {
    throw new OptionError(
      'source: a path, pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME is needed, got nothing of that',
    )
  }
  checkNumbers(options)
  const isGguf = target === 'gguf'
  const grid = isGguf ? undefined : gridOf(options, target)
  if (method === 'rtn' && options.actOrder)
    throw new OptionError('--act-order: rounding to nearest has no order; leave it out or use --method gptq')
  return {
    source: options.source,
    output: options.output,
    method,
    target,
    scheme: isGguf ? schemeOf(options) : undefined,
    grid,
    // What block types gain from it is not measured, so that it has to be asked for.
    actOrder: options.actOrder ?? (method === 'gptq' && !isGguf),
    staticGroups: options.staticGroups ?? true,
    trueSequential: options.trueSequential ?? true,
    damping: options.damping ?? 0.01,
    onSingular: options.onSingular ?? 'throw',
    embedding: embeddingOf(options.embedding, target),
    fallback: options.fallback ?? true,
    calibration: options.calibration,
    samples: options.samples ?? 40,
    length: options.length ?? 512,
    seed,
    evaluate: options.evaluate ?? true,
    sideBySide: options.sideBySide,
    text: options.text,
    context: options.context ?? 512,
    windows: options.windows ?? 20,
    every: options.every ?? 1,
    overwrite: options.overwrite ?? false,
    scratch: options.scratch,
    offline: options.offline ?? false,
  }
}

/** Whole numbers with the least that each may be: a long run must not die of a typo in its last step. */
const wholeNumbers = { samples: 1, length: 1, seed: 0, context: 2, windows: 1, every: 1 } as const

function checkNumbers(options: CompressOptions): void {
  for (const [name, least] of Object.entries(wholeNumbers)) {
    const value = options[name as keyof typeof wholeNumbers]
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least)) {
      throw new OptionError(`--${name}: a whole number from ${least} on is needed, got ${value}`)
    }
  }
  const { damping, onSingular } = options
  if (damping !== undefined && !(Number.isFinite(damping) && damping > 0)) {
    throw new OptionError(`--damping: a number above 0 is needed, got ${damping}`)
  }
  if (onSingular !== undefined && !['throw', 'round'].includes(onSingular)) {
    throw new OptionError(`--on-singular: throw and round are possible, got ${printable(String(onSingular))}`)
  }
}

function gridOf(options: CompressOptions, target: TargetName): AffineGrid {
  if (options.scheme !== undefined) {
    throw new OptionError(
      `--scheme: names types of GGUF files; --target ${target} takes --bits and --group-size`,
    )
  }
  const grid = affineGrid({
    bits: (options.bits ?? 4) as AffineGrid['bits'],
    groupSize: options.groupSize ?? 64,
    symmetric: options.symmetric ?? false,
    search: options.search ?? false,
    // The first version of GPTQ files stores zeros less 1.
    zeroLow: target === 'gptq' ? 1 : 0,
  })
  checkGrid(grid)
  return grid
}

function schemeOf(options: CompressOptions): BlockTypeName {
  if (options.bits !== undefined) {
    const near = codedTypeNames
      .toSorted(
        (a, b) => Math.abs(bitsPerWeight(a) - options.bits!) - Math.abs(bitsPerWeight(b) - options.bits!),
      )
      .slice(0, 3)
    throw new OptionError(
      `--bits: GGUF files have named types, choose --scheme; near ${options.bits} bits are ${near.map((name) => `${name} (${bitsPerWeight(name)})`).join(', ')}`,
      {
        code: 'PARE_E_SCHEME',
        facts: { bits: options.bits, near },
      },
    )
  }
  for (const [flag, given] of [
    ['--group-size', options.groupSize !== undefined],
    ['--symmetric', options.symmetric !== undefined],
    ['--search', options.search !== undefined],
  ] as const) {
    if (given)
      throw new OptionError(
        `${flag}: the types of GGUF files have groups and zeros of their own; leave it out or choose --target gptq or pare`,
      )
  }
  const asked = options.scheme ?? 'Q4_K'
  const scheme = codedTypeNames.find((name) => name === asked.toUpperCase())
  if (scheme) return scheme
  throw new OptionError(
    `--scheme: there is no ${printable(asked)}; possible are ${codedTypeNames.join(', ')}`,
    {
      code: 'PARE_E_SCHEME',
      facts: { scheme: asked, possible: codedTypeNames },
    },
  )
}

function embeddingOf(asked: string | undefined, target: TargetName): string | undefined {
  if (asked === undefined) return undefined
  const name = asked.toLowerCase() === 'keep' ? 'keep' : asked.toUpperCase()
  const possible = target === 'gguf' ? ['keep', ...blockTypeNames] : target === 'pare' ? blockTypeNames : []
  if ((possible as readonly string[]).includes(name)) return name
  throw new OptionError(
    possible.length === 0
      ? `--embedding: a GPTQ file keeps the embedding in half floats; leave it out`
      : `--embedding: there is no ${printable(asked)} for --target ${target}; possible are ${possible.join(', ')}`,
  )
}
