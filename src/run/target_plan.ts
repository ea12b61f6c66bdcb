/** How a target stores the tensors of a model, from headers alone. */
import { basename } from 'node:path'
import type { OpenLanguageModel } from '../models/open_model.ts'
import type { GgufScheme } from '../models/write/gguf_mix.ts'
import { planGguf } from '../models/write/gguf_target.ts'
import { planGptq } from '../models/write/gptq_target.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import { planPare } from '../models/write/pare_target.ts'
import { folderSource, ggufSource, matricesOf } from '../models/write/target.ts'
import type { TensorChoices } from '../models/write/tensor_choice.ts'
import type { BlockTypeName } from '../nn/block_types.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import { inputImportance } from './input_importance.ts'
import { tensorRules } from './tensor_rules.ts'

/** The plan of a target for an open model; `choices` are what the options ask for single tensors, or others. */
export function planTarget(
  source: OpenLanguageModel,
  options: ResolvedCompressOptions,
  choices: TensorChoices = tensorRules(source, options).choices,
): TargetPlan {
  const { target, steps, embedding, trueSequential, fallback, shardSize, imatrix } = options
  const [{ grid, damping }] = steps
  const sharding = shardSize === undefined ? {} : { maxShardBytes: shardSize }
  const actOrder = steps.some((step) => step.actOrder)
  const groupsSorted = steps.some((step) => step.actOrder && !step.staticGroups)
  switch (target) {
    case 'gguf': {
      const from = ggufSource(source)
      const importance = inputImportance(source, imatrix)
      const scheme = mainScheme(source, choices, steps[0].scheme!)
      const fileName = `${basename(source.name)
        .replace(/[^\w.-]+/g, '-')
        .replace(/\.(Q\d\w*|F16|F32|BF16|IQ\d\w*)$/i, '')}-${scheme}`
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
    case 'gptq':
      return planGptq(folderSource(source), {
        grid: grid!,
        actOrder,
        staticGroups: actOrder && !groupsSorted,
        damping,
        trueSequential,
        choices,
        ...sharding,
      })
    case 'pare':
      return planPare(folderSource(source), {
        grid: grid!,
        groupsSorted,
        embedding: embedding as BlockTypeName | undefined,
        choices,
        ...sharding,
      })
  }
}

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
function mainScheme(source: OpenLanguageModel, choices: TensorChoices, first: GgufScheme): GgufScheme {
  const weights = new Map<GgufScheme, number>()
  for (const name of matricesOf(source)) {
    const { mix, scheme = mix } = choices.get(name) ?? {}
    const [rows, columns] = source.weights.infos.get(name)!.shape as [number, number]
    if (scheme) weights.set(scheme, (weights.get(scheme) ?? 0) + rows * columns)
  }
  return [...weights].toSorted(([, a], [, b]) => b - a)[0]?.[0] ?? first
}
