/** How a target stores the tensors of a model, from headers alone. */
import { basename } from 'node:path'
import type { OpenConvertible } from '../models/load_model.ts'
import type { OnnxLayout } from '../models/onnx/export_names.ts'
import { onnxSource } from '../models/onnx/onnx_source.ts'
import { languageModel, type OpenCompressible } from '../models/open_model.ts'
import { planAwq } from '../models/write/awq_target.ts'
import { planCompressedTensors } from '../models/write/compressed_tensors_target.ts'
import type { FolderSource } from '../models/write/folder_source.ts'
import type { GgufScheme } from '../models/write/gguf_mix.ts'
import { planGguf } from '../models/write/gguf_target.ts'
import { planGptq } from '../models/write/gptq_target.ts'
import { planMlx } from '../models/write/mlx_target.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { planOnnx } from '../models/write/onnx_target.ts'
import { planPare } from '../models/write/pare_target.ts'
import { folderSource, ggufSource, matricesOf } from '../models/write/target.ts'
import type { TensorChoices } from '../models/write/tensor_choice.ts'
import { wholeFolder } from '../models/write/whole_folder.ts'
import type { BlockTypeName } from '../nn/block_types.ts'
import { type AffineGrid, affineGrid } from '../nn/grid.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import { checkFormat } from './encoder_options.ts'
import { chosenNotes } from './fit_groups.ts'
import { inputImportance } from './input_importance.ts'
import { checkRuntime, checkSource, runtimeNotes } from './runtime_rules.ts'
import type { FormatName } from './target_formats.ts'
import { type ChosenTarget, chosenTarget } from './targets.ts'
import { tensorRules } from './tensor_rules.ts'

/** What a planner of any format asks for; each takes what it knows. */
export interface FormatOptions {
  /** Levels of the linear weights that no choice is for; for every format but GGUF. */
  grid?: AffineGrid | undefined
  /** Block type or mix of the linear weights that no choice is for; for GGUF. */
  scheme?: GgufScheme | undefined
  /** What single tensors get. */
  choices?: TensorChoices | undefined
  embedding?: string | undefined
  /** What the network computes in; for ONNX. @default 'F32' */
  activations?: 'F32' | 'F16' | undefined
  /** A block type may be replaced where it does not fit. @default true */
  fallback?: boolean
  /** The mean square of each input, by weight; for GGUF. */
  importance?: ReadonlyMap<string, Float32Array> | undefined
  maxShardBytes?: number | undefined
  /** Columns were sorted. @default false */
  actOrder?: boolean
  /** Sorted columns name their groups. @default false */
  groupsSorted?: boolean
  damping?: number
  trueSequential?: boolean
  /** A program loads the folder by itself: what it asks for is made where the source has none. @default false */
  whole?: boolean
  /** Programs compute some weights as one matrix, and look them up by its name. @default false */
  fused?: boolean
}

/** A planner for each format. */
const planners: Readonly<
  Record<FormatName, (source: OpenCompressible, options: FormatOptions) => TargetPlan>
> = {
  gguf: planGgufFile,
  gptq: (source, options) => planGptqFolder(source, options, 'gptq'),
  gptq_v2: (source, options) => planGptqFolder(source, options, 'gptq_v2'),
  awq: (source, options) => planAwq(folderOf(source, options), checkpointOptions(options)),
  'compressed-tensors': (source, options) =>
    planCompressedTensors(folderOf(source, options), checkpointOptions(options)),
  mlx: (source, options) => planMlx(folderOf(source, options), checkpointOptions(options)),
  onnx: (source, options) => planOnnxFolder(source, options, 'onnx'),
  'transformers.js': (source, options) => planOnnxFolder(source, options, 'transformers.js'),
  pare: (source, options) =>
    planPare(folderOf(source, options), {
      ...checkpointOptions(options),
      groupsSorted: options.groupsSorted ?? false,
      embedding: options.embedding as BlockTypeName | undefined,
    }),
}

/**
 * The plan of a layout of some target for an open model, with what its program asks for: levels that it computes with,
 * parts of fused matrices that are alike. For results whose weights come from anywhere.
 *
 * @throws OptionError where the format cannot hold it, or the program would not open it.
 * @example planLayout(source, chosenTarget('vllm', 'awq'), { grid, choices })
 */
export function planLayout(
  source: OpenConvertible,
  chosen: ChosenTarget,
  options: FormatOptions,
): TargetPlan {
  const { layout, target } = chosen
  checkFormat(source, chosen.name, layout.format)
  if (source.family === 'llama') checkSource(source, chosen)
  const all = { ...options, whole: layout.needs.length > 0, fused: target.fused ?? false }
  const plan =
    source.family === 'image'
      ? planOnnxFolder(source, all, layout.format === 'onnx' ? 'onnx' : 'transformers.js')
      : planners[layout.format](source, all)
  checkRuntime(plan, chosen, options.choices)
  return { ...plan, notes: [...plan.notes, ...runtimeNotes(plan, chosen)] }
}

/** The plan of a target for an open model; `choices` are what the options ask for single tensors, or others. */
export function planTarget(
  source: OpenCompressible,
  options: ResolvedCompressOptions,
  choices: TensorChoices = tensorRules(source, options).choices,
): TargetPlan {
  const { target, format, steps, embedding, activations, trueSequential, fallback, shardSize, imatrix } =
    options
  const [{ damping, scheme }] = steps
  // A pruner before has none.
  const grid = steps.find((step) => step.grid !== undefined)?.grid
  const plan = planLayout(source, chosenTarget(target, format), {
    grid,
    scheme: scheme && mainScheme(source, choices, scheme),
    choices,
    embedding,
    activations,
    fallback,
    importance: inputImportance(source, imatrix),
    maxShardBytes: shardSize,
    actOrder: steps.some((step) => step.actOrder),
    groupsSorted: steps.some((step) => step.actOrder && !step.staticGroups),
    damping,
    trueSequential,
  })
  return { ...plan, notes: [...plan.notes, ...chosenNotes(options)] }
}

/**
 * The name of a GGUF file, without its ending: letters of any script stay, a type at the end gives way to the new one.
 *
 * @example ggufFileName('pare-4m-Q4_K', 'Q3_K') // 'pare-4m-Q3_K'
 */
export function ggufFileName(name: string, scheme: string): string {
  const plain = basename(name)
    .replace(/[^\p{L}\p{M}\p{N}_.-]+/gu, '-')
    .replace(/[.-](?:I?Q\d\w*|F16|F32|BF16)$/i, '')
    .replace(/-{2,}/g, '-')
    .replace(/^[-.]+|[-.]+$/g, '')
  return `${plain || 'model'}-${scheme}`
}

function planGgufFile(open: OpenCompressible, options: FormatOptions): TargetPlan {
  const source = languageModel(open)
  const from = ggufSource(source)
  const { scheme = 'Q4_K', choices = new Map(), embedding, fallback = true, importance } = options
  const fileName = ggufFileName(source.name, scheme)
  const plan = planGguf(from, {
    scheme,
    choices,
    embedding: embedding as BlockTypeName | 'keep' | undefined,
    fallback,
    importance,
    fileName,
  })
  return { ...plan, notes: [...plan.notes, ...unknownNote(from.matrices, importance), ...from.losses] }
}

function planGptqFolder(
  source: OpenCompressible,
  options: FormatOptions,
  checkpointFormat: 'gptq' | 'gptq_v2',
): TargetPlan {
  const { actOrder = false, groupsSorted = false, fused = false, damping, trueSequential } = options
  return planGptq(folderOf(source, options), {
    ...checkpointOptions(options),
    checkpointFormat,
    fused,
    actOrder,
    staticGroups: actOrder && !groupsSorted,
    ...(damping === undefined ? {} : { damping }),
    ...(trueSequential === undefined ? {} : { trueSequential }),
  })
}

const folderOf = (source: OpenCompressible, { whole }: FormatOptions): FolderSource =>
  whole ? wholeFolder(languageModel(source), folderSource(source)) : folderSource(source)

/** Without a grid all weights are numbers. */
function planOnnxFolder(
  source: OpenConvertible,
  { grid, choices, embedding, activations }: FormatOptions,
  layout: OnnxLayout,
): TargetPlan {
  const own = source.family === 'image' ? source.source : onnxSource(source)
  const companions =
    layout === 'onnx' || source.family !== 'llama' ? own.companions : wholeFolder(source, own).companions
  return planOnnx(
    { ...own, companions },
    {
      layout,
      type: embedding === 'F16' ? 'F16' : 'F32',
      ...(activations ? { activations } : {}),
      ...(grid ? { grid } : {}),
      ...(choices ? { choices } : {}),
    },
  )
}

const checkpointOptions = ({ grid = affineGrid(), choices = new Map(), maxShardBytes }: FormatOptions) => ({
  grid,
  choices,
  ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
})

/** What an importance matrix does not tell. */
function unknownNote(
  matrices: ReadonlySet<string>,
  importance: ReadonlyMap<string, Float32Array> | undefined,
): string[] {
  if (!importance) return []
  const missing = [...matrices].filter((name) => !importance.has(name))
  return missing.length === 0
    ? []
    : [
        `imatrix: the inputs of ${missing.length} of ${matrices.size} weights are not in it, such as ${missing[0]}`,
      ]
}

/** The block type or mix that most of the linear weights are asked to have: the file is named for it. */
function mainScheme(source: OpenCompressible, choices: TensorChoices, first: GgufScheme): GgufScheme {
  const weights = new Map<GgufScheme, number>()
  for (const name of matricesOf(source)) {
    const { mix, scheme = mix } = choices.get(name) ?? {}
    const [rows, columns] = source.weights.infos.get(name)!.shape as [number, number]
    if (scheme) weights.set(scheme, (weights.get(scheme) ?? 0) + rows * columns)
  }
  return [...weights].toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? first
}
