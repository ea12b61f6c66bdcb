/** What a compression will store, known from headers alone, and how long it takes. Works without the native core. */

import { checkTexts } from '../formats/text_file.ts'
import type { Edited } from '../models/edited_model.ts'
import { headName } from '../models/llama/names.ts'
import { loadCompressible } from '../models/load_model.ts'
import { languageModel, type OpenCompressible } from '../models/open_model.ts'
import type { ResolveOptions } from '../models/source/resolved.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { bitsPerWeight } from '../models/write/tensor_plan.ts'
import { baselineOf } from './baselines.ts'
import {
  type CompressOptions,
  defaultSamples,
  type ResolvedCompressOptions,
  resolveOptions,
} from './compress_options.ts'
import { forFamily, usualSamples } from './encoder_options.ts'
import type { RunHooks } from './evaluate.ts'
import { fitGroups } from './fit_groups.ts'
import { memoryBudget } from './memory_budget.ts'
import type { MemoryPhase } from './memory_plan.ts'
import type { MeasurementTask } from './mix/measurement_task.ts'
import { planMix } from './mix/mix_plan.ts'
import { mixRule } from './mix/mix_space.ts'
import { type PlanSeconds, planSeconds } from './plan_seconds.ts'
import type { Recipe } from './recipe.ts'
import { resolvedRecipe } from './recipe_options.ts'
import { stepsAsMethod } from './step_sequence.ts'
import { planTarget } from './target_plan.ts'
import { chosenTarget, type Program } from './targets.ts'
import { type RuleReport, type StepReport, tensorRules } from './tensor_rules.ts'
import { changedNames, needsSamples, outlinedModel } from './transform_model.ts'

/** What `compress` takes; where the result would go does not matter. */
export interface PlanOptions extends Omit<CompressOptions, 'output'> {
  output?: string
}

export interface CompressionPlan extends PlanSeconds {
  source: string
  name: string
  target: ResolvedCompressOptions['target']
  format: ResolvedCompressOptions['format']
  /** What opens the result, the program first, each with its least version; empty where the format alone is asked for. */
  programs: readonly Program[]
  /** `gptq`, or `rtn+gptq` where there are several. */
  method: string
  /** Size of the source's weight files. */
  bytesSource: number
  /** Size of the result's weight files. */
  bytes: number
  /** Present where data decides the size: what holds. `bytes` is then that of the uniform mix. */
  bytesRange?: { readonly least: number; readonly most: number }
  /** Compressed matrices with all metadata, over their weights. */
  bitsPerWeight: number
  bitsPerWeightSource: number
  /** The whole weight file over all weights. */
  fileBitsPerWeight: number
  parameters: number
  tensors: readonly {
    name: string
    shape: readonly number[]
    role: string
    sourceType: string
    type: string
    bytes: number
    note?: string
  }[]
  /** Upper bound of resident memory, for the options at hand. */
  peakMemoryBytes: number
  /** What decides it, phase by phase. */
  memory: readonly MemoryPhase[]
  /** In the order in which they run. */
  steps: readonly StepReport[]
  /** Every pattern, with what it met. */
  rules: readonly RuleReport[]
  /** What was asked for with every default: a recipe for the same result. */
  recipe: Recipe
  notes: readonly string[]
}

/** The plan as a record for people and programs; `measurement` is what comes before the run. */
export function describePlan(
  source: OpenCompressible & Edited,
  plan: TargetPlan,
  options: ResolvedCompressOptions,
  measurement?: MeasurementTask,
): CompressionPlan {
  const { tensors } = plan
  const parameters = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
  const matrices = tensors.filter(({ role }) => role === 'matrix')
  const weights = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  const { steps, rules, untouched } = tensorRules(source, options)
  const budget = memoryBudget(source, plan, options, measurement)
  const { peakMemoryBytes, phases, notes: memoryNotes, refusal } = budget
  const stored = (source.unedited ?? source).weights.infos
  const sourceBytes = matrices.reduce((sum, { name }) => sum + stored.get(name)!.bytes, 0)
  return {
    source: options.source,
    name: source.name,
    target: options.target,
    format: options.format,
    programs: chosenTarget(options.target, options.format).layout.needs,
    method: options.method,
    bytesSource: source.weights.fileBytes,
    bytes: plan.fileBytes,
    bitsPerWeight: bitsPerWeight(tensors),
    bitsPerWeightSource: (sourceBytes * 8) / weights,
    fileBitsPerWeight: (plan.fileBytes * 8) / parameters,
    parameters,
    tensors: tensors.map(({ name, shape, role, sourceType, type, bytes, note }) => ({
      name,
      shape,
      role,
      sourceType: stored.get(name)?.type ?? sourceType,
      type,
      bytes,
      ...(note ? { note } : {}),
    })),
    peakMemoryBytes,
    memory: phases,
    steps: [...transformSteps(source, options), ...steps],
    rules: rules.filter(({ rule }) => rule !== mixRule),
    recipe: resolvedRecipe(options),
    notes: [
      ...plan.notes,
      ...untiedNotes(source, tensors),
      ...(untouched > 0 ? [`${untouched} linear weights are taken by no step and stay as they are`] : []),
      ...calibrationNotes(source, options, measurement),
      ...wideGroupNotes(matrices),
      ...memoryNotes,
      ...(refusal ? [refusal.message] : []),
      ...fallbackNotes(plan),
      ...sizeNotes(plan.fileBytes, source.weights.fileBytes),
    ],
  }
}

/** Transforms, with how many of the linear weights each changes. */
function transformSteps(
  source: OpenCompressible & Edited,
  { transforms }: ResolvedCompressOptions,
): StepReport[] {
  const changed = changedNames(source.unedited ?? source, transforms)
  const linear = source.model.stages.flatMap(({ weights }) => weights)
  return transforms.map(({ method, own }, index) => ({
    method,
    type:
      Object.entries(own)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ') || 'before the weights',
    weights: linear.filter((name) => changed[index]!.has(name)).length,
  }))
}

/** A head that needs a tensor of its own now. */
function untiedNotes(
  { unedited, weights }: OpenCompressible & Edited,
  tensors: TargetPlan['tensors'],
): string[] {
  const head = tensors.find(({ name }) => name === headName && !unedited?.weights.infos.has(name))
  return unedited && head && weights.infos.has(headName)
    ? [`the head was the embedding, and is a tensor of its own after the transform: ${head.bytes} bytes more`]
    : []
}

/** Flags that ask for another calibration than the usual one, where no step and no measurement looks at texts. */
function calibrationNotes(
  { model, family }: OpenCompressible,
  options: ResolvedCompressOptions,
  measurement: MeasurementTask | undefined,
): string[] {
  const { steps, mix, calibration, samples, length, context } = options
  const weights = model.stages.flatMap((stage) => stage.weights)
  const isUsed =
    measurement !== undefined ||
    mix !== undefined ||
    needsSamples(options) ||
    stepsAsMethod(steps, weights).needs.length > 0
  if (isUsed) return []
  const usual = family === 'bert' ? usualSamples : defaultSamples
  const usualLength = family === 'bert' ? Math.min(usual.length, context) : usual.length
  const flags = [
    ...(calibration ? ['--calib'] : []),
    ...(samples === usual.samples ? [] : ['--samples']),
    ...(length === usualLength ? [] : ['--length']),
  ]
  const methods = [...new Set([...options.transforms, ...steps].map(({ method }) => method))].join(', ')
  return flags.length > 0 ? [`${flags.join(', ')}: not used, ${methods} is not calibrated`] : []
}

/** Groups that no row fills are rows. */
function wideGroupNotes(matrices: TargetPlan['tensors']): string[] {
  const widths = matrices.flatMap(({ grid, shape }) =>
    grid?.kind === 'affine' && typeof grid.groupSize === 'number' && grid.groupSize > shape[1]!
      ? [grid.groupSize]
      : [],
  )
  return widths.length === 0
    ? []
    : [
        `groups of ${[...new Set(widths)].join(', ')} are wider than the rows of ${widths.length} of ${matrices.length} linear weights: there a group is a row`,
      ]
}

const sizeNotes = (bytes: number, bytesSource: number): string[] =>
  bytes > bytesSource
    ? [
        `the weights of the result are larger than those of its source (${bytes} against ${bytesSource} bytes)`,
      ]
    : []

/** One sentence for each kind of stand-in, with how many weights it takes. */
function fallbackNotes({ tensors }: TargetPlan): string[] {
  const matrices = tensors.filter(({ role }) => role === 'matrix')
  const all = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  const kinds = new Map<string, number>()
  for (const { note, type, shape } of matrices) {
    if (note)
      kinds.set(
        `${note}; ${type} stands in`,
        (kinds.get(`${note}; ${type} stands in`) ?? 0) + shape[0]! * shape[1]!,
      )
  }
  return [...kinds].map(
    ([kind, weights]) => `${kind} for ${((100 * weights) / all).toFixed(1)}% of the linear weights`,
  )
}

/**
 * The plan of a compression: every tensor, its type and bytes, before anything is computed, and a range of time, for
 * which kernels are measured for three seconds at most; `probe: false` leaves that out.
 *
 * @example const { bytes, bitsPerWeight } = await plan({ source: 'model.gguf', target: 'gguf', scheme: 'Q3_K' })
 */
export async function plan(
  options: PlanOptions,
  resolve: ResolveOptions = {},
  hooks: RunHooks = {},
): Promise<CompressionPlan> {
  const asked = resolveOptions({ output: '', ...options })
  checkTexts([...(asked.calibration ?? []), ...(asked.text ?? [])])
  const source = await loadCompressible(options.source, {
    offline: asked.offline || undefined,
    ...resolve,
  })
  try {
    const resolved = fitGroups(source, forFamily(source, asked, options))
    if (resolved.mix)
      return await planMix(
        { ...languageModel(source), resolved: source.resolved },
        resolved,
        describePlan,
        hooks,
      )
    const model = outlinedModel(source, resolved)
    const target = planTarget(model, resolved)
    return {
      ...describePlan(model, target, resolved),
      ...(await planSeconds(model, target, resolved, { hooks, baseline: baselineOf(resolved, undefined) })),
    }
  } finally {
    source.close()
  }
}
