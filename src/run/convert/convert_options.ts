/** What a conversion is asked for. */

import { isMixScheme } from '../../models/write/gguf_mix.ts'
import type { FloatType } from '../../models/write/tensor_choice.ts'
import { blockTypeNames, isCodedType } from '../../nn/block_types.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { activationsOf } from '../number_types.ts'
import { chosenTarget, type TargetName } from '../targets.ts'
import { type ConvertFormat, type ConvertLayout, convertLayout } from './convert_formats.ts'

export interface ConvertOptions {
  /** A path, `pypi:NAME==VERSION`, `npm:NAME@VERSION` or `hf:ORG/NAME`. */
  source: string
  /** Folder of the result: one that is empty or does not exist. */
  output: string
  /** Program or format that reads the result. */
  target: TargetName
  /** Layout of the files, for targets that have several. @default the first of the target */
  format?: ConvertFormat | undefined
  /** Every weight as plain numbers of this type. @default codes stay codes, and numbers as they are */
  type?: 'f32' | 'f16' | 'bf16' | undefined
  /** What an ONNX file computes in; F16 takes the type f16. @default 'F32' */
  activations?: 'F32' | 'F16' | undefined
  /** Bits of a code, 2, 3, 4 or 8: what is stored otherwise is rounded to nearest. @default those of the source */
  bits?: number | undefined
  /** Columns per scale. @default those of the source */
  groupSize?: number | 'row' | undefined
  /** Zeros in the middle. @default as in the source */
  symmetric?: boolean | undefined
  /** Searches a narrower range for each group that is rounded. @default false */
  search?: boolean | undefined
  /** Block type or mix of a GGUF file. @default types that hold the codes of the source */
  scheme?: string | undefined
  /** Refuses a result in which any value differs, and takes wider codes where only these keep every value. @default false */
  lossless?: boolean | undefined
  /** Replaces what stands at the output, once the result is whole. @default false */
  overwrite?: boolean | undefined
  /** Bytes of tensors in one safetensors file. @default 5e9 */
  shardSize?: number | undefined
  /** Uses only what is on disk. @default false */
  offline?: boolean | undefined
}

export interface ResolvedConvertOptions extends Omit<ConvertOptions, 'type' | 'activations'> {
  readonly layout: ConvertLayout
  readonly type: FloatType | undefined
  readonly activations: 'F32' | 'F16' | undefined
  readonly lossless: boolean
  readonly overwrite: boolean
}

const floatTypes: Readonly<Record<string, FloatType>> = { f32: 'F32', f16: 'F16', bf16: 'BF16' }

/** @throws OptionError for what cannot be, before anything is read. */
export function resolveConvertOptions(options: ConvertOptions): ResolvedConvertOptions {
  const { target, format, type, bits, groupSize, symmetric, search, scheme, lossless = false } = options
  if (typeof options.output !== 'string' || options.output === '')
    throw new OptionError(
      '--output: the name of a folder is needed, got nothing; name one that is empty or does not exist',
    )
  const layout = convertLayout(target, format, type !== undefined)
  const refuse = (what: string) => new OptionError(what, { code: 'PARE_E_CONVERT_OPTION', facts: { target } })
  if (type !== undefined && !Object.hasOwn(floatTypes, type))
    throw refuse(`--type: f32, f16 or bf16 is needed, got ${printable(String(type))}; choose one of them`)
  const levels = { '--bits': bits, '--group-size': groupSize, '--symmetric': symmetric, '--search': search }
  const asked = Object.entries(levels).find(([, value]) => value !== undefined)?.[0]
  const hasBlocks = layout.format === 'gguf'
  if (scheme !== undefined && !hasBlocks)
    throw refuse(
      `--scheme: is for GGUF files, --target ${target} stores no block types; leave it out, or choose --bits`,
    )
  if (asked !== undefined && (hasBlocks || layout.format === 'aqlm' || layout.format === 'spqr'))
    throw refuse(
      `${asked}: is for evenly spaced levels, ${layout.title} has none of these; ${hasBlocks ? 'choose --scheme' : 'leave it out'}`,
    )
  if (type !== undefined && (asked !== undefined || scheme !== undefined))
    throw refuse(`--type: stores numbers, ${asked ?? '--scheme'} codes; leave one of them out`)
  if (scheme !== undefined && !isCodedType(scheme) && !isMixScheme(scheme))
    throw refuse(
      `--scheme: ${printable(scheme)} is no block type that holds codes; choose one of ${blockTypeNames.filter(isCodedType).join(', ')}, a mix, or --type`,
    )
  if (bits !== undefined && ![2, 3, 4, 8].includes(bits))
    throw refuse(`--bits: 2, 3, 4 and 8 are possible, got ${bits}; choose one of them`)
  if (bits !== undefined && layout.levels && !layout.levels.bits.includes(bits as never))
    throw refuse(
      `--bits: ${layout.title} of --target ${target} holds ${layout.levels.bits.join(', ')} bits, got ${bits}; choose one of them`,
    )
  if (groupSize !== undefined && groupSize !== 'row' && !(Number.isInteger(groupSize) && groupSize >= 1))
    throw refuse(`--group-size: a whole number from 1 on or "row" is needed, got ${groupSize}; choose one`)
  return {
    ...options,
    layout,
    type: type && floatTypes[type],
    activations: activationsFor(options, layout),
    lossless,
    overwrite: options.overwrite === true,
  }
}

/** @throws OptionError where the program of the target decides, and for F16 with weights in another type. */
function activationsFor(
  { target, type, activations }: ConvertOptions,
  { chosen }: ConvertLayout,
): 'F32' | 'F16' | undefined {
  const found = activationsOf(activations, chosen ?? chosenTarget(target))
  if (found !== 'F16' || type === 'f16') return found
  throw new OptionError(
    `--activations: F16 goes with --type f16, got ${printable(type ?? 'codes')}; add it, or compute in F32`,
    { code: 'PARE_E_ACTIVATIONS', facts: { target, activations: found } },
  )
}

/** Whether weights that have no codes are to get some. */
export const asksForCodes = ({
  bits,
  groupSize,
  symmetric,
  search,
  scheme,
}: ResolvedConvertOptions): boolean =>
  [bits, groupSize, symmetric, search, scheme].some((value) => value !== undefined)
