/** The layouts that a conversion writes: those of compressions, and what holds codes that are there already, or none. */
import type { PareWeight } from '../../formats/pare_weight.ts'
import type { LevelTarget } from '../../models/regrid/candidates.ts'
import { type LevelFormat, levelTargets } from '../../models/regrid/level_targets.ts'
import { spqrEncoding } from '../../models/write/spqr_target.ts'
import { OptionError } from '../../tensor/errors.ts'
import type { FormatName } from '../target_formats.ts'
import { type ChosenTarget, chosenTarget, type Layout, type TargetName } from '../targets.ts'

/** Layouts that only conversions have. */
const ownFormats = {
  /** Plain numbers in a Hugging Face folder. */
  float: { title: 'a folder of plain numbers', targets: ['transformers', 'vllm', 'mlx'] },
  aqlm: { title: 'an AQLM checkpoint', targets: ['transformers', 'vllm'] },
  spqr: { title: 'an SpQR checkpoint', targets: ['transformers'] },
} as const satisfies Record<string, { title: string; targets: readonly TargetName[] }>

/** AQLM has codebooks of one form in all layers, which its planner asks for. */
const trees = {
  aqlm: ({ kind }: PareWeight) => kind === 'codebook',
  spqr: (described: PareWeight) => spqrEncoding.formOf(described) !== undefined,
}

export type OwnFormat = keyof typeof ownFormats
export type ConvertFormat = FormatName | OwnFormat
export const ownFormatNames = Object.keys(ownFormats) as OwnFormat[]
const isOwnFormat = (name: string): name is OwnFormat => Object.hasOwn(ownFormats, name)

export interface ConvertLayout {
  readonly format: ConvertFormat
  /** For messages: `a GPTQ checkpoint`. */
  readonly title: string
  /** With the rules of its program; of layouts that compressions have too. */
  readonly chosen?: ChosenTarget
  /** Whether it holds codes that are put together so; of layouts without evenly spaced levels. */
  tree?(described: PareWeight): boolean
  /** Which evenly spaced levels it takes. */
  readonly levels?: LevelTarget
  /** All linear weights have one form. */
  readonly isUniform: boolean
}

/** Whose levels a format has. */
const levelFormats: Readonly<Record<FormatName, LevelFormat>> = {
  ...{ gguf: 'gguf', gptq: 'gptq', gptq_v2: 'gptq_v2', awq: 'awq', mlx: 'mlx' },
  ...{ 'compressed-tensors': 'compressed-tensors', pare: 'compressed-tensors' },
  ...{ onnx: 'onnx', 'transformers.js': 'onnx' },
}

/**
 * @param plain weights become numbers, so that folders need no layout of codes
 * @throws OptionError for a format that the target has not.
 */
export function convertLayout(target: TargetName, format?: ConvertFormat, plain = false): ConvertLayout {
  const { float } = ownFormats
  const own = format ?? (plain && (float.targets as readonly string[]).includes(target) ? 'float' : undefined)
  if (own !== undefined && isOwnFormat(own)) {
    const { title, targets } = ownFormats[own]
    if ((targets as readonly string[]).includes(target))
      return { format: own, title, isUniform: false, ...(own === 'float' ? {} : { tree: trees[own] }) }
    throw new OptionError(
      `--format: ${own} is for --target ${targets.join(', ')}, got ${target}; choose one of them`,
      { code: 'PARE_E_FORMAT', facts: { target, format: own } },
    )
  }
  const chosen = chosenTarget(target, own as FormatName | undefined)
  const { format: name, levels: rules } = chosen.layout
  const { title } = chosen.facts
  if (plain && !['gguf', 'pare', 'onnx', 'transformers.js'].includes(name))
    throw new OptionError(
      `--type: ${title} stores codes, --target ${target} numbers only in GGUF files and folders; choose --target transformers, mlx, onnx, llama.cpp or pare`,
      { code: 'PARE_E_FORMAT', facts: { target, format: name } },
    )
  const levels = levelTargets[levelFormats[name]]
  const isUniform = chosen.facts.weights === 'levels' && !chosen.facts.widths
  return { format: name, title, chosen, isUniform, levels: rules ? within(levels, rules) : levels }
}

/** What a program takes of what its format can hold: vLLM's kernels ask for more than the format does. */
function within(
  target: LevelTarget,
  { tiles, bits, groupSizes, zeros }: NonNullable<Layout['levels']>,
): LevelTarget {
  if (!tiles) return target
  return {
    ...target,
    bits: target.bits.filter((width) => bits.includes(width)),
    widths: groupSizes,
    zeroBits: zeros,
  }
}
