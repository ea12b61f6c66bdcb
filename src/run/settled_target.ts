/** The plan of a result whose weights have their final form. */
import type { OpenCompressible } from '../models/open_model.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import type { ResolvedCompressOptions } from './compress_options.ts'
import type { StageEntry } from './journal_entries.ts'
import { planTarget } from './target_plan.ts'
import { tensorRules } from './tensor_rules.ts'

/** The same plan where the forms of all weights were known before; else with those that methods made. */
export function settledTarget(
  source: OpenCompressible,
  options: ResolvedCompressOptions,
  target: TargetPlan,
  stages: readonly Pick<StageEntry, 'layers'>[],
): TargetPlan {
  const forms = new Map(
    stages.flatMap(({ layers }) => layers.flatMap(({ name, form }) => (form ? [[name, form] as const] : []))),
  )
  if (forms.size === 0) return target
  const choices = new Map(tensorRules(source, options).choices)
  for (const [name, form] of forms) {
    const choice = choices.get(name)
    if (choice?.made) choices.set(name, { ...choice, made: form })
  }
  return planTarget(source, options, choices)
}
