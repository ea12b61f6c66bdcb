/** What a compression will store, known from headers alone. Works without the native core. */
import { basename } from 'node:path'
import { loadModel } from '../models/load_model.ts'
import type { OpenModel } from '../models/open_model.ts'
import type { ResolveOptions } from '../models/source/resolved.ts'
import { planGguf } from '../models/write/gguf_target.ts'
import { planGptq } from '../models/write/gptq_target.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { planPare } from '../models/write/pare_target.ts'
import { folderSource, ggufSource, matricesOf } from '../models/write/target.ts'
import type { TensorChoices } from '../models/write/tensor_choice.ts'
import { bitsPerWeight } from '../models/write/tensor_plan.ts'
import type { BlockTypeName } from '../nn/block_types.ts'
import { type CompressOptions, type ResolvedCompressOptions, resolveOptions } from './compress_options.ts'
import { openLimits } from './limits.ts'
import { memoryBudget } from './memory_budget.ts'
import type { MemoryPhase } from './memory_plan.ts'
import type { Recipe } from './recipe.ts'
import { resolvedRecipe } from './recipe_options.ts'
import { type RuleReport, type StepReport, tensorRules } from './tensor_rules.ts'

/** What `compress` takes; where the result would go does not matter. */
export interface PlanOptions extends Omit<CompressOptions, 'output'> {
  output?: string
}

export interface CompressionPlan {
  source: string
  name: string
  target: ResolvedCompressOptions['target']
  /** `gptq`, or `rtn+gptq` where there are several. */
  method: string
  /** Size of the source's weight files. */
  bytesSource: number
  /** Size of the result's weight files. */
  bytes: number
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

/** The plan of a target for an open model. */
export function planTarget(source: OpenModel, options: ResolvedCompressOptions): TargetPlan {
  const { target, steps, embedding, trueSequential, fallback } = options
  const { choices } = tensorRules(source, options)
  const [{ grid, damping }] = steps
  const actOrder = steps.some((step) => step.actOrder)
  const groupsSorted = steps.some((step) => step.actOrder && !step.staticGroups)
  switch (target) {
    case 'gguf': {
      const from = ggufSource(source)
      const scheme = mainScheme(source, choices, steps[0].scheme!)
      const fileName = `${basename(source.name)
        .replace(/[^\w.-]+/g, '-')
        .replace(/\.(Q\d\w*|F16|F32|BF16|IQ\d\w*)$/i, '')}-${scheme}`
      const plan = planGguf(from, {
        scheme,
        choices,
        embedding: embedding as BlockTypeName | 'keep' | undefined,
        fallback,
        fileName,
      })
      return { ...plan, notes: [...plan.notes, ...from.losses] }
    }
    case 'gptq':
      return planGptq(folderSource(source), {
        grid: grid!,
        actOrder,
        staticGroups: actOrder && !groupsSorted,
        damping,
        trueSequential,
        choices,
      })
    case 'pare':
      return planPare(folderSource(source), {
        grid: grid!,
        groupsSorted,
        embedding: embedding as BlockTypeName | undefined,
        choices,
      })
  }
}

/** The plan as a record for people and programs. */
export function describePlan(
  source: OpenModel,
  plan: TargetPlan,
  options: ResolvedCompressOptions,
): CompressionPlan {
  const { tensors } = plan
  const parameters = tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
  const matrices = tensors.filter(({ role }) => role === 'matrix')
  const weights = matrices.reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0)
  const { steps, rules, untouched } = tensorRules(source, options)
  const { peakMemoryBytes, phases, notes: memoryNotes, refusal } = memoryBudget(source, plan, options)
  const sourceBytes = matrices.reduce((sum, { name }) => sum + source.weights.infos.get(name)!.bytes, 0)
  return {
    source: options.source,
    name: source.name,
    target: options.target,
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
      sourceType,
      type,
      bytes,
      ...(note ? { note } : {}),
    })),
    peakMemoryBytes,
    memory: phases,
    steps,
    rules,
    recipe: resolvedRecipe(options),
    notes: [
      ...plan.notes,
      ...(untouched > 0 ? [`${untouched} linear weights are taken by no step and stay as they are`] : []),
      ...openLimits(options.limits).map((name) => `limits.${name}: this version of Pare does not keep to it`),
      ...memoryNotes,
      ...(refusal ? [refusal.message] : []),
      ...fallbackNotes(plan),
      ...sizeNotes(plan.fileBytes, source.weights.fileBytes),
    ],
  }
}

/** The block type that most of the linear weights are asked to have: the file is named for it. */
function mainScheme(source: OpenModel, choices: TensorChoices, first: BlockTypeName): BlockTypeName {
  const weights = new Map<BlockTypeName, number>()
  for (const name of matricesOf(source)) {
    const { scheme } = choices.get(name) ?? {}
    const [rows, columns] = source.weights.infos.get(name)!.shape as [number, number]
    if (scheme) weights.set(scheme, (weights.get(scheme) ?? 0) + rows * columns)
  }
  return [...weights].toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? first
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
 * The plan of a compression: every tensor, its type and bytes, before anything is computed.
 *
 * @example const { bytes, bitsPerWeight } = await plan({ source: 'model.gguf', target: 'gguf', scheme: 'Q3_K' })
 */
export async function plan(options: PlanOptions, resolve: ResolveOptions = {}): Promise<CompressionPlan> {
  const resolved = resolveOptions({ output: '', ...options })
  const source = await loadModel(options.source, { offline: resolved.offline || undefined, ...resolve })
  try {
    return describePlan(source, planTarget(source, resolved), resolved)
  } finally {
    source.close()
  }
}
